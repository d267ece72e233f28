package main

import (
	"context"
	"sync"

	"github.com/livekit/protocol/livekit"
	"github.com/livekit/protocol/logger"
	"github.com/livekit/protocol/rpc"
	"github.com/livekit/protocol/utils/guid"
	"github.com/livekit/psrpc"
)

var (
	errNotFound     = psrpc.NewErrorf(psrpc.NotFound, "egress not found")
	errExists       = psrpc.NewErrorf(psrpc.AlreadyExists, "egress already exists")
	errNotEnoughCPU = psrpc.NewErrorf(psrpc.Unavailable, "not enough CPU")
	errShuttingDown = psrpc.NewErrorf(psrpc.Unavailable, "server is shutting down")
	errNotSupported = psrpc.NewErrorf(psrpc.Unimplemented, "this stand-in records room composites to one file only")
)

// service is one egress pod on the bus.
type service struct {
	conf     *config
	nodeID   string
	cores    float64
	scratch  string
	internal rpc.EgressInternalServer
	handlers rpc.EgressHandlerServer
	reports  rpc.IOInfoClient
	stop     chan struct{}

	mu          sync.Mutex
	terminating bool
	recordings  map[string]*recording
	idle        *sync.Cond
}

func newService(conf *config, bus psrpc.MessageBus, cores float64, scratch string) (*service, error) {
	s := &service{
		conf: conf, nodeID: guid.New("NE_"), cores: cores, scratch: scratch,
		stop: make(chan struct{}), recordings: map[string]*recording{},
	}
	s.idle = sync.NewCond(&s.mu)
	var err error
	if s.reports, err = rpc.NewIOInfoClient(bus); err != nil {
		return nil, err
	}
	if s.handlers, err = rpc.NewEgressHandlerServer(s, bus); err != nil {
		return nil, err
	}
	if s.internal, err = rpc.NewEgressInternalServer(s, bus); err != nil {
		return nil, err
	}
	return s, s.internal.RegisterListActiveEgressTopic("")
}

// run takes requests until shutdown, and returns when the last recording has ended.
func (s *service) run() error {
	if err := s.internal.RegisterStartEgressTopic(s.conf.ClusterID); err != nil {
		return err
	}
	logger.Infow("service ready", "nodeID", s.nodeID, "cores", s.cores)
	<-s.stop
	s.internal.DeregisterStartEgressTopic(s.conf.ClusterID)
	s.mu.Lock()
	for len(s.recordings) > 0 {
		s.idle.Wait()
	}
	s.mu.Unlock()
	s.internal.Shutdown()
	s.handlers.Shutdown()
	logger.Infow("service stopped")
	return nil
}

// shutdown takes no more requests; with kill it ends the recordings instead of waiting for them.
func (s *service) shutdown(kill bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.terminating {
		s.terminating = true
		close(s.stop)
	}
	if kill {
		for _, one := range s.recordings {
			go one.end(livekit.EndReasonKilled)
		}
	}
}

// cost is what a request takes, in cores.
func (s *service) cost(req *rpc.StartEgressRequest) float64 {
	if req.EstimatedCpu > 0 {
		return req.EstimatedCpu
	}
	if req.GetRoomComposite().GetAudioOnly() {
		return s.conf.CPUCost.AudioRoomComposite
	}
	return s.conf.CPUCost.RoomComposite
}

// free is the cores that a request may still take: all of an idle pod, else max_cpu_utilization of them less what the
// recordings cost. Egress measures what they use after half a minute; the stand-in uses next to nothing, so it goes
// on counting the cost.
func (s *service) free() float64 {
	if len(s.recordings) == 0 {
		return s.cores
	}
	free := s.cores * s.conf.CPUCost.MaxUtilization
	for _, one := range s.recordings {
		free -= one.cost
	}
	return free
}

func (s *service) accepts(req *rpc.StartEgressRequest) bool {
	return !s.terminating && s.free() >= s.cost(req)
}

// StartEgressAffinity prefers a pod that records already and has cores left, as egress does; negative refuses.
func (s *service) StartEgressAffinity(_ context.Context, req *rpc.StartEgressRequest) float32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !s.accepts(req):
		return -1
	case len(s.recordings) == 0:
		return 0.5
	default:
		return 1
	}
}

// StartEgress answers as soon as the request is accepted; joining the room comes after.
func (s *service) StartEgress(ctx context.Context, req *rpc.StartEgressRequest) (*livekit.EgressInfo, error) {
	one, err := s.admit(req)
	if err != nil {
		logger.Infow("request refused", "egressID", req.EgressId, "reason", err.Error())
		return nil, err
	}
	started := one.snapshot()
	reporting, cancel := context.WithTimeout(ctx, reportWait)
	defer cancel()
	if _, err = s.reports.CreateEgress(reporting, started); err == nil {
		err = s.handlers.RegisterStopEgressTopic(req.EgressId)
	}
	if err != nil {
		s.forget(req.EgressId)
		return nil, err
	}
	logger.Infow("request accepted", "egressID", req.EgressId, "room", started.RoomName, "cost", one.cost)
	go func() {
		one.run()
		s.handlers.DeregisterStopEgressTopic(req.EgressId)
		s.forget(req.EgressId)
	}()
	return started, nil
}

func (s *service) admit(req *rpc.StartEgressRequest) (*recording, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.terminating:
		return nil, errShuttingDown
	case s.recordings[req.EgressId] != nil:
		return nil, errExists
	case !s.accepts(req):
		return nil, errNotEnoughCPU
	}
	one, err := newRecording(s, req)
	if err != nil {
		return nil, err
	}
	s.recordings[req.EgressId] = one
	return one, nil
}

func (s *service) forget(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.recordings, id)
	s.idle.Broadcast()
}

// ListActiveEgress lets livekit-server find recordings whose pod is gone.
func (s *service) ListActiveEgress(context.Context, *rpc.ListActiveEgressRequest) (*rpc.ListActiveEgressResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	response := &rpc.ListActiveEgressResponse{}
	for id := range s.recordings {
		response.EgressIds = append(response.EgressIds, id)
	}
	return response, nil
}

// StopEgress answers with the state that the request leads to; the upload comes after.
func (s *service) StopEgress(_ context.Context, req *livekit.StopEgressRequest) (*livekit.EgressInfo, error) {
	s.mu.Lock()
	one := s.recordings[req.EgressId]
	s.mu.Unlock()
	if one == nil {
		return nil, errNotFound
	}
	one.end(livekit.EndReasonAPI)
	return one.snapshot(), nil
}

// UpdateEgress is for streams and layouts, which Visio does not change.
func (s *service) UpdateEgress(context.Context, *livekit.UpdateEgressRequest) (*livekit.EgressInfo, error) {
	return nil, errNotSupported
}

// UpdateStream is for streams, which Visio does not use.
func (s *service) UpdateStream(context.Context, *livekit.UpdateStreamRequest) (*livekit.EgressInfo, error) {
	return nil, errNotSupported
}
