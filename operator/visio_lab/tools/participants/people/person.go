package main

import (
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/livekit/protocol/livekit"
	lksdk "github.com/livekit/server-sdk-go/v2"
	"github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media"
)

const (
	silence     = time.Second
	rejoinAfter = 500 * time.Millisecond
	frameLength = 20 * time.Millisecond
	// What a voice at 32 kbit/s takes. Nobody decodes it: what a server passes on are packets.
	frameBytes = 80
)

// person is one participant of one room.
type person struct {
	url, key, secret, room, who string

	mu     sync.Mutex
	heard  map[string]time.Time
	silent map[string]time.Time
	left   chan struct{}
}

func newPerson(url, key, secret, room, who string) *person {
	return &person{
		url: url, key: key, secret: secret, room: room, who: who,
		heard: map[string]time.Time{}, silent: map[string]time.Time{}, left: make(chan struct{}),
	}
}

var output sync.Mutex

func (p *person) say(event string, more map[string]any) {
	line := map[string]any{"room": p.room, "who": p.who, "event": event}
	for name, value := range more {
		line[name] = value
	}
	text, err := json.Marshal(line)
	if err != nil {
		panic(err)
	}
	// In one piece, with the time first: readers know a whole line by its begin and its end.
	output.Lock()
	defer output.Unlock()
	fmt.Printf("{\"t\":%.3f,%s\n", float64(time.Now().UnixMilli())/1000, text[1:])
}

// stay is in the room until left is closed; one whose connection is given up joins anew, as a browser page does.
func (p *person) stay() {
	go p.watch()
	for event := "joined"; ; event = "rejoined" {
		if err := p.session(event); err != nil {
			p.say("failed", map[string]any{"why": err.Error()})
		}
		select {
		case <-p.left:
			return
		case <-time.After(rejoinAfter):
		}
	}
}

func (p *person) session(event string) error {
	givenUp := make(chan struct{})
	var once sync.Once
	callback := lksdk.NewRoomCallback()
	callback.OnReconnecting = func() { p.say("reconnecting", nil) }
	callback.OnReconnected = func() { p.say("reconnected", nil) }
	callback.OnDisconnectedWithReason = func(reason lksdk.DisconnectionReason) {
		once.Do(func() { close(givenUp) })
		select {
		case <-p.left:
		default:
			p.say("disconnected", map[string]any{"why": string(reason)})
		}
	}
	callback.OnParticipantDisconnected = func(other *lksdk.RemoteParticipant) {
		p.say("gone", map[string]any{"other": other.Identity()})
	}
	callback.OnTrackSubscribed = func(track *webrtc.TrackRemote, _ *lksdk.RemoteTrackPublication, other *lksdk.RemoteParticipant) {
		go p.listen(track, other.Identity())
	}
	info := lksdk.ConnectInfo{APIKey: p.key, APISecret: p.secret, RoomName: p.room, ParticipantIdentity: p.who}
	joined, err := lksdk.ConnectToRoom(p.url, info, callback)
	if err != nil {
		return err
	}
	defer joined.Disconnect()
	track, err := lksdk.NewLocalTrack(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2})
	if err != nil {
		return err
	}
	options := &lksdk.TrackPublicationOptions{Name: "microphone", Source: livekit.TrackSource_MICROPHONE, DisableDTX: true}
	if _, err := joined.LocalParticipant.PublishTrack(track, options); err != nil {
		return err
	}
	p.say(event, nil)
	p.speak(track, givenUp)
	return nil
}

// speak sends until the person leaves or the connection is given up.
func (p *person) speak(track *lksdk.LocalTrack, givenUp <-chan struct{}) {
	ticker := time.NewTicker(frameLength)
	defer ticker.Stop()
	frame := make([]byte, frameBytes)
	frame[0] = 0xfc // one frame of 20 ms
	for {
		select {
		case <-p.left:
			return
		case <-givenUp:
			return
		case <-ticker.C:
			// Between two servers there is nowhere to send to; what it cost is seen by who listens.
			_ = track.WriteSample(media.Sample{Data: frame, Duration: frameLength}, nil)
		}
	}
}

func (p *person) listen(track *webrtc.TrackRemote, other string) {
	for {
		if _, _, err := track.ReadRTP(); err != nil {
			return
		}
		now := time.Now()
		p.mu.Lock()
		since, was := p.silent[other]
		delete(p.silent, other)
		p.heard[other] = now
		p.mu.Unlock()
		if was {
			p.say("heard", map[string]any{"other": other, "gap": now.Sub(since).Seconds()})
		}
	}
}

// watch says who falls silent, and every second how many others are heard.
func (p *person) watch() {
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for ticks := 1; ; ticks++ {
		select {
		case <-p.left:
			return
		case now := <-ticker.C:
			for _, other := range p.fallenSilent(now) {
				p.say("silence", map[string]any{"other": other})
			}
			if ticks%10 == 0 {
				p.mu.Lock()
				hears := len(p.heard) - len(p.silent)
				p.mu.Unlock()
				p.say("present", map[string]any{"hears": hears})
			}
		}
	}
}

func (p *person) fallenSilent(now time.Time) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	found := []string{}
	for other, last := range p.heard {
		if _, known := p.silent[other]; !known && now.Sub(last) > silence {
			p.silent[other] = last
			found = append(found, other)
		}
	}
	return found
}
