package main

import (
	"os"
	"strings"
	"sync"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media/oggwriter"
)

// streamSSRC names the one stream of the file; the tracks written into it have numbers of their own.
const streamSSRC = 1

// sink writes one audio track at a time: the first, and when that ends the next one that sends.
type sink struct {
	path    string
	started func()

	mu      sync.Mutex
	current *webrtc.TrackRemote
	writer  *oggwriter.Writer
	track   *oggwriter.Track
	closed  bool
	failure error
}

func newSink(path string, started func()) *sink {
	return &sink{path: path, started: started}
}

// record reads a track until it ends; tracks that are not written are read all the same, so that the server sends them.
func (s *sink) record(remote *webrtc.TrackRemote) {
	audio := strings.EqualFold(remote.Codec().MimeType, webrtc.MimeTypeOpus)
	for {
		packet, _, err := remote.ReadRTP()
		if err != nil {
			break
		}
		if audio && s.write(remote, packet) {
			s.started()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == remote {
		s.current = nil
	}
}

// write tells whether the packet belongs to the recording.
func (s *sink) write(remote *webrtc.TrackRemote, packet *rtp.Packet) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil {
		s.current = remote
	}
	if s.current != remote || s.closed || s.failure != nil || len(packet.Payload) == 0 {
		return false
	}
	if s.failure = s.open(); s.failure != nil {
		return false
	}
	packet.SSRC = streamSSRC
	s.failure = s.track.WriteRTP(packet)
	return s.failure == nil
}

func (s *sink) open() error {
	if s.writer != nil {
		return nil
	}
	file, err := os.Create(s.path)
	if err != nil {
		return err
	}
	if s.writer, err = oggwriter.NewWriter(file, oggwriter.WithSeekableOutput(file)); err != nil {
		return err
	}
	s.track, err = s.writer.NewTrack(
		streamSSRC,
		oggwriter.WithChannelCount(2),
		oggwriter.WithVendor("visio-operator egress stand-in"),
		oggwriter.WithUserComments(oggwriter.UserComment{Comment: "COMMENT", Value: madeBy}),
	)
	return err
}

// close ends the file; a recording in which nobody spoke is a file without audio.
func (s *sink) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return s.failure
	}
	s.closed = true
	if s.failure != nil {
		return s.failure
	}
	if err := s.open(); err != nil {
		return err
	}
	return s.writer.Close() // closes the file too
}
