// Command egressstandin speaks LiveKit's egress protocol without Chrome and GStreamer: it takes StartEgress over Redis,
// joins the room as a hidden recorder, writes its first audio track, uploads that file and reports every state, so that
// livekit-server sends the webhooks of a real recording. It mixes nothing and draws no picture: a video recording is
// the same audio in an OGG container under the requested name, and says so in its tags and its S3 metadata.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"github.com/livekit/protocol/logger"
	lkredis "github.com/livekit/protocol/redis"
	"github.com/livekit/protocol/utils/hwstats"
	"github.com/livekit/psrpc"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "egress:", err)
		os.Exit(1)
	}
}

func run() error {
	file := flag.String("config", os.Getenv("EGRESS_CONFIG_FILE"), "configuration `file` (EGRESS_CONFIG_FILE)")
	body := flag.String("config-body", os.Getenv("EGRESS_CONFIG_BODY"), "configuration `text` (EGRESS_CONFIG_BODY)")
	limit := flag.String("cores", os.Getenv("LAB_CPU_LIMIT"), "`number` of cores, where no cgroup sets them (LAB_CPU_LIMIT)")
	home := flag.String("home", "/home/egress", "`folder` for recordings until they are uploaded")
	flag.Parse()

	conf, err := readConfig(*body, *file)
	if err != nil {
		return err
	}
	logger.InitFromConfig(conf.Logging, "egress")
	cores, err := countCores(*limit)
	if err != nil {
		return err
	}
	scratch := *home + "/tmp"
	if err := os.MkdirAll(scratch, 0o755); err != nil {
		return fmt.Errorf("cannot keep recordings: %w", err)
	}
	redis, err := lkredis.GetRedisClient(conf.Redis)
	if err != nil {
		return fmt.Errorf("redis: %w", err)
	}
	service, err := newService(conf, psrpc.NewRedisMessageBus(redis), cores, scratch)
	if err != nil {
		return err
	}
	if err := service.serveHTTP(); err != nil {
		return err
	}

	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGINT)
	go func() {
		for got := range signals {
			logger.Infow("exit requested", "signal", got.String())
			service.shutdown(got == syscall.SIGINT)
		}
	}()
	return service.run()
}

// countCores takes what it is told, else the cgroup's limit, as egress does.
func countCores(told string) (float64, error) {
	if told != "" {
		cores, err := strconv.ParseFloat(told, 64)
		if err != nil || cores <= 0 {
			return 0, fmt.Errorf("cores: %q is not a positive number", told)
		}
		return cores, nil
	}
	stats, err := hwstats.NewCPUStats(nil)
	if err != nil {
		return 0, fmt.Errorf("cannot count processor cores: %w", err)
	}
	return stats.NumCPU(), nil
}
