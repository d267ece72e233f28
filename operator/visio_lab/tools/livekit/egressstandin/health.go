package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"

	"github.com/livekit/protocol/livekit"
	"github.com/livekit/protocol/logger"
	"github.com/livekit/protocol/rpc"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// serveHTTP opens the health and the metrics port, each where the configuration names one.
func (s *service) serveHTTP() error {
	handlers := map[int]http.Handler{
		s.conf.HealthPort:     http.HandlerFunc(s.health),
		s.conf.PrometheusPort: promhttp.HandlerFor(s.metrics(), promhttp.HandlerOpts{}),
	}
	for port, handler := range handlers {
		if port == 0 {
			continue
		}
		listener, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
		if err != nil {
			return err
		}
		go func() { logger.Errorw("server ended", http.Serve(listener, handler)) }()
	}
	return nil
}

// health answers on any path with the cores that are free, under the name that egress gives them.
func (s *service) health(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	free := s.free()
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]float64{"CpuLoad": free})
}

func (s *service) metrics() prometheus.Gatherer {
	registry := prometheus.NewRegistry()
	labels := prometheus.Labels{"node_id": s.nodeID, "cluster_id": s.conf.ClusterID}
	gauge := func(name string, labels prometheus.Labels, value func() float64) {
		registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Namespace: "livekit", Subsystem: "egress", Name: name, ConstLabels: labels,
		}, func() float64 {
			s.mu.Lock()
			defer s.mu.Unlock()
			return value()
		}))
	}
	flag := func(on bool) float64 {
		if on {
			return 1
		}
		return 0
	}
	video := &rpc.StartEgressRequest{
		Request: &rpc.StartEgressRequest_RoomComposite{RoomComposite: &livekit.RoomCompositeEgressRequest{}},
	}
	gauge("available", labels, func() float64 { return flag(len(s.recordings) == 0) })
	gauge("can_accept_request", labels, func() float64 { return flag(s.accepts(video)) })
	gauge("is_terminating", labels, func() float64 { return flag(s.terminating) })
	typed := prometheus.Labels{"type": "room_composite", "node_id": s.nodeID, "cluster_id": s.conf.ClusterID}
	gauge("requests", typed, func() float64 { return float64(len(s.recordings)) })
	return registry
}
