package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/livekit/protocol/logger"
	lkredis "github.com/livekit/protocol/redis"
	"go.yaml.in/yaml/v3"
)

// config holds what the stand-in uses of egress's configuration; like egress it passes over keys that it does not know.
type config struct {
	Redis          *lkredis.RedisConfig `yaml:"redis"`
	APIKey         string               `yaml:"api_key"`
	APISecret      string               `yaml:"api_secret"`
	WsURL          string               `yaml:"ws_url"`
	ClusterID      string               `yaml:"cluster_id"`
	HealthPort     int                  `yaml:"health_port"`
	PrometheusPort int                  `yaml:"prometheus_port"`
	Logging        *logger.Config       `yaml:"logging"`
	CPUCost        cpuCost              `yaml:"cpu_cost"`
	SessionLimits  struct {
		FileOutputMaxDuration time.Duration `yaml:"file_output_max_duration"`
	} `yaml:"session_limits"`
}

// cpuCost is in cores; egress's own defaults are in readConfig.
type cpuCost struct {
	MaxUtilization     float64 `yaml:"max_cpu_utilization"`
	RoomComposite      float64 `yaml:"room_composite_cpu_cost"`
	AudioRoomComposite float64 `yaml:"audio_room_composite_cpu_cost"`
}

// readConfig returns an error of one line that names every required key without a value.
func readConfig(body, file string) (*config, error) {
	if body == "" && file == "" {
		return nil, errors.New("missing config: set EGRESS_CONFIG_BODY or EGRESS_CONFIG_FILE")
	}
	if body == "" {
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		body = string(content)
	}
	conf := &config{
		APIKey:    os.Getenv("LIVEKIT_API_KEY"),
		APISecret: os.Getenv("LIVEKIT_API_SECRET"),
		WsURL:     os.Getenv("LIVEKIT_WS_URL"),
		Logging:   &logger.Config{Level: "info"},
		CPUCost:   cpuCost{MaxUtilization: 0.8, RoomComposite: 4, AudioRoomComposite: 1},
	}
	if err := yaml.Unmarshal([]byte(body), conf); err != nil {
		return nil, fmt.Errorf("could not parse config: %s", strings.ReplaceAll(err.Error(), "\n", " "))
	}
	required := []struct {
		name  string
		given bool
	}{
		{"api_key (or LIVEKIT_API_KEY)", conf.APIKey != ""},
		{"api_secret (or LIVEKIT_API_SECRET)", conf.APISecret != ""},
		{"ws_url (or LIVEKIT_WS_URL)", conf.WsURL != ""},
		{"redis", conf.Redis != nil && conf.Redis.IsConfigured()},
	}
	var missing []string
	for _, one := range required {
		if !one.given {
			missing = append(missing, one.name)
		}
	}
	if missing != nil {
		return nil, fmt.Errorf("config lacks %s", strings.Join(missing, ", "))
	}
	if !strings.HasPrefix(conf.WsURL, "ws://") && !strings.HasPrefix(conf.WsURL, "wss://") {
		return nil, errors.New("config: ws_url must begin with ws:// or wss://")
	}
	return conf, nil
}
