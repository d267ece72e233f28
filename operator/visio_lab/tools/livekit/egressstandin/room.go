package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"github.com/livekit/protocol/livekit"
	"github.com/livekit/protocol/logger"
	"github.com/pion/webrtc/v4"
	"google.golang.org/protobuf/proto"
)

// A server that goes away without a word is given up after this time; until then its room may open on another one.
const (
	rejoinFor   = 40 * time.Second
	rejoinEvery = time.Second
)

// signalPath asks for all tracks, in the protocol of two peer connections.
const signalPath = "/rtc?protocol=15&auto_subscribe=1&sdk=go"

// errRoomClosed is the ordinary end of a session: the room was closed, or the recorder removed from it.
var errRoomClosed = errors.New("room closed")

// room is the recorder's place in a LiveKit room, over reconnections.
type room struct {
	url     string
	token   string
	onTrack func(*webrtc.TrackRemote)

	mu     sync.Mutex
	left   bool
	others map[string]bool
	socket *websocket.Conn
	peer   *webrtc.PeerConnection
}

func newRoom(url, token string, onTrack func(*webrtc.TrackRemote)) *room {
	return &room{url: strings.TrimSuffix(url, "/"), token: token, onTrack: onTrack, others: map[string]bool{}}
}

// stay is in the room until it is closed (errRoomClosed), left (nil) or out of reach.
func (r *room) stay() error {
	lost := time.Now()
	for {
		joined, err := r.session()
		if joined {
			lost = time.Now()
		}
		r.mu.Lock()
		left := r.left
		r.mu.Unlock()
		switch {
		case left:
			return nil
		case errors.Is(err, errRoomClosed):
			return err
		case time.Since(lost) > rejoinFor:
			return fmt.Errorf("connection to room failed: %w", err)
		}
		logger.Infow("rejoining", "reason", err.Error())
		time.Sleep(rejoinEvery)
	}
}

// leave ends stay.
func (r *room) leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left = true
	if r.socket != nil {
		_ = r.sendLocked(&livekit.SignalRequest{Message: &livekit.SignalRequest_Leave{Leave: &livekit.LeaveRequest{
			Reason: livekit.DisconnectReason_CLIENT_INITIATED, Action: livekit.LeaveRequest_DISCONNECT,
		}}})
		_ = r.socket.Close()
	}
}

// occupied tells whether anybody else is there.
func (r *room) occupied() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.others) > 0
}

// session is one connection; it tells whether it got into the room, and why it ended.
func (r *room) session() (joined bool, err error) {
	header := http.Header{"Authorization": {"Bearer " + r.token}}
	socket, response, err := websocket.DefaultDialer.Dial(r.url+signalPath, header)
	if err != nil {
		if response != nil {
			return false, fmt.Errorf("%w: %s", err, response.Status)
		}
		return false, err
	}
	defer socket.Close()
	peer, err := webrtc.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return false, err
	}
	defer peer.Close()
	peer.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) { r.onTrack(track) })
	peer.OnICECandidate(func(candidate *webrtc.ICECandidate) { r.trickle(candidate) })

	r.mu.Lock()
	if r.left {
		r.mu.Unlock()
		return false, errRoomClosed
	}
	r.socket, r.peer, r.others = socket, peer, map[string]bool{}
	r.mu.Unlock()
	done := make(chan struct{})
	defer close(done)
	pending := []webrtc.ICECandidateInit{}
	for {
		_, data, err := socket.ReadMessage()
		if err != nil {
			return joined, err
		}
		message := &livekit.SignalResponse{}
		if err := proto.Unmarshal(data, message); err != nil {
			return joined, err
		}
		switch got := message.Message.(type) {
		case *livekit.SignalResponse_Join:
			joined = true
			r.seen(got.Join.OtherParticipants)
			go r.ping(time.Duration(got.Join.PingInterval)*time.Second, done)
		case *livekit.SignalResponse_Update:
			r.seen(got.Update.Participants)
		case *livekit.SignalResponse_Offer:
			if err := r.answer(got.Offer); err != nil {
				return joined, err
			}
			for _, candidate := range pending {
				if err := peer.AddICECandidate(candidate); err != nil {
					return joined, err
				}
			}
			pending = nil
		case *livekit.SignalResponse_Trickle:
			if got.Trickle.Target != livekit.SignalTarget_SUBSCRIBER || got.Trickle.CandidateInit == "" {
				continue
			}
			candidate := webrtc.ICECandidateInit{}
			if err := json.Unmarshal([]byte(got.Trickle.CandidateInit), &candidate); err != nil {
				return joined, err
			}
			// Candidates may come before the offer that they belong to.
			if peer.RemoteDescription() == nil {
				pending = append(pending, candidate)
			} else if err := peer.AddICECandidate(candidate); err != nil {
				return joined, err
			}
		case *livekit.SignalResponse_RefreshToken:
			r.token = got.RefreshToken
		case *livekit.SignalResponse_Leave:
			if got.Leave.Action == livekit.LeaveRequest_DISCONNECT {
				return joined, errRoomClosed
			}
			return joined, fmt.Errorf("server asks to reconnect: %s", got.Leave.Reason)
		}
	}
}

func (r *room) answer(offer *livekit.SessionDescription) error {
	if err := r.peer.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offer.Sdp}); err != nil {
		return err
	}
	answer, err := r.peer.CreateAnswer(nil)
	if err != nil {
		return err
	}
	if err := r.peer.SetLocalDescription(answer); err != nil {
		return err
	}
	return r.send(&livekit.SignalRequest{Message: &livekit.SignalRequest_Answer{
		Answer: &livekit.SessionDescription{Type: "answer", Sdp: answer.SDP, Id: offer.Id},
	}})
}

func (r *room) trickle(candidate *webrtc.ICECandidate) {
	if candidate == nil {
		return
	}
	text, err := json.Marshal(candidate.ToJSON())
	if err == nil {
		err = r.send(&livekit.SignalRequest{Message: &livekit.SignalRequest_Trickle{Trickle: &livekit.TrickleRequest{
			CandidateInit: string(text), Target: livekit.SignalTarget_SUBSCRIBER,
		}}})
	}
	if err != nil {
		logger.Debugw("candidate not sent", "error", err.Error())
	}
}

func (r *room) ping(every time.Duration, done <-chan struct{}) {
	if every <= 0 {
		return
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-done:
			return
		case now := <-ticker.C:
			_ = r.send(&livekit.SignalRequest{Message: &livekit.SignalRequest_PingReq{
				PingReq: &livekit.Ping{Timestamp: now.UnixMilli()},
			}})
		}
	}
}

func (r *room) seen(participants []*livekit.ParticipantInfo) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, one := range participants {
		if one.State == livekit.ParticipantInfo_DISCONNECTED {
			delete(r.others, one.Sid)
		} else if one.Kind != livekit.ParticipantInfo_EGRESS {
			r.others[one.Sid] = true
		}
	}
}

func (r *room) send(request *livekit.SignalRequest) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sendLocked(request)
}

func (r *room) sendLocked(request *livekit.SignalRequest) error {
	data, err := proto.Marshal(request)
	if err != nil {
		return err
	}
	_ = r.socket.SetWriteDeadline(time.Now().Add(5 * time.Second))
	return r.socket.WriteMessage(websocket.BinaryMessage, data)
}
