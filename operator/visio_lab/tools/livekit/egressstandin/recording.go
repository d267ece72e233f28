package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path"
	"sync"
	"time"

	"github.com/livekit/protocol/egress"
	"github.com/livekit/protocol/livekit"
	"github.com/livekit/protocol/logger"
	"github.com/livekit/protocol/rpc"
	"github.com/livekit/psrpc"
	"google.golang.org/protobuf/proto"
)

// startAfter is how long egress's page waits for media of the people present before it starts without.
const startAfter = 5 * time.Second

// Reports are repeated over this time, so that a livekit-server that restarts still learns how a recording ended.
const (
	reportFor   = 5 * time.Minute
	reportEvery = time.Second
	reportWait  = 10 * time.Second
)

// recording is one request, from STARTING to its end.
type recording struct {
	service         *service
	cost            float64
	target          *livekit.S3Upload
	key             string
	contentType     string
	disableManifest bool
	folder          string
	room            *room
	sink            *sink
	reports         chan *livekit.EgressInfo
	ended           chan struct{}

	mu     sync.Mutex
	info   *livekit.EgressInfo
	file   *livekit.FileInfo
	ending bool
}

// newRecording checks the request; its error is the one that the caller of StartEgress gets.
func newRecording(s *service, req *rpc.StartEgressRequest) (*recording, error) {
	composite := req.GetRoomComposite()
	if composite == nil {
		return nil, errNotSupported
	}
	output, err := onlyFile(composite)
	if err != nil {
		return nil, err
	}
	key, contentType, err := objectKey(composite, output, time.Now())
	if err != nil {
		return nil, err
	}
	if err := checkTarget(output.GetS3()); err != nil {
		return nil, err
	}
	now := time.Now().UnixNano()
	redacted := proto.Clone(composite).(*livekit.RoomCompositeEgressRequest)
	egress.RedactEncodedOutputs(redacted)
	source := livekit.EgressSourceType_EGRESS_SOURCE_TYPE_WEB
	if composite.AudioOnly {
		source = livekit.EgressSourceType_EGRESS_SOURCE_TYPE_SDK
	}
	file := &livekit.FileInfo{Filename: key}
	one := &recording{
		service: s, cost: s.cost(req), target: output.GetS3(), key: key, contentType: contentType,
		disableManifest: output.DisableManifest, folder: path.Join(s.scratch, req.EgressId),
		reports: make(chan *livekit.EgressInfo, 8), ended: make(chan struct{}),
		file: file,
		info: &livekit.EgressInfo{
			EgressId: req.EgressId, RoomId: req.RoomId, RoomName: composite.RoomName, SourceType: source,
			Status: livekit.EgressStatus_EGRESS_STARTING, StartedAt: now, UpdatedAt: now, RetryCount: req.RetryCount,
			Request:     &livekit.EgressInfo_RoomComposite{RoomComposite: redacted},
			FileResults: []*livekit.FileInfo{file},
			Result:      &livekit.EgressInfo_File{File: file},
		},
	}
	token, url := req.Token, req.WsUrl
	if token == "" {
		token, err = egress.BuildEgressToken(req.EgressId, s.conf.APIKey, s.conf.APISecret, composite.RoomName)
		if err != nil {
			return nil, err
		}
	}
	if url == "" {
		url = s.conf.WsURL
	}
	one.sink = newSink(path.Join(one.folder, path.Base(key)), one.activate)
	one.room = newRoom(url, token, one.sink.record)
	return one, nil
}

// run records, uploads and reports; it returns when all of it is done.
func (r *recording) run() {
	reported := make(chan struct{})
	go func() {
		defer close(reported)
		for info := range r.reports {
			r.deliver(info)
		}
	}()
	defer func() {
		close(r.reports)
		<-reported
		if err := os.RemoveAll(r.folder); err != nil {
			logger.Warnw("could not clean up", err, "egressID", r.info.EgressId)
		}
	}()

	err := os.MkdirAll(r.folder, 0o755)
	if err == nil {
		err = r.record()
	}
	stopped := r.sink.close()
	if err == nil {
		err = stopped
	}
	r.finish(err)
}

// record returns when the recording is to end: stopped, room closed, limit reached, or an error.
func (r *recording) record() error {
	limit := make(<-chan time.Time)
	if longest := r.service.conf.SessionLimits.FileOutputMaxDuration; longest > 0 {
		limit = time.After(longest)
	}
	joined := make(chan error, 1)
	go func() { joined <- r.room.stay() }()
	defer r.room.leave()
	present := time.NewTicker(startAfter)
	defer present.Stop()
	for {
		select {
		case <-r.ended:
			return nil
		case err := <-joined:
			r.end(livekit.EndReasonSrcClosed)
			if errors.Is(err, errRoomClosed) {
				return nil
			}
			return err
		case <-limit:
			r.limitReached()
			return nil
		case <-present.C:
			if r.room.occupied() {
				r.activate()
			}
		}
	}
}

// activate marks the first media, or the moment at which the recording starts without any.
func (r *recording) activate() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ending || r.info.Status != livekit.EgressStatus_EGRESS_STARTING {
		return
	}
	now := time.Now().UnixNano()
	r.file.StartedAt, r.info.StartedAt = now, now
	r.info.UpdateStatus(livekit.EgressStatus_EGRESS_ACTIVE)
	r.report()
}

// end asks the recording to stop; one that has not started yet is aborted, as egress does.
func (r *recording) end(reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ending {
		return
	}
	r.ending = true
	r.info.SetEndReason(reason)
	switch r.info.Status {
	case livekit.EgressStatus_EGRESS_STARTING:
		r.info.SetAborted(livekit.MsgStoppedBeforeStarted)
	case livekit.EgressStatus_EGRESS_ACTIVE:
		r.info.UpdateStatus(livekit.EgressStatus_EGRESS_ENDING)
		r.report()
	}
	close(r.ended)
}

func (r *recording) limitReached() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ending {
		return
	}
	r.ending = true
	r.info.SetEndReason(livekit.EndReasonLimitReached)
	if r.info.Status == livekit.EgressStatus_EGRESS_STARTING {
		r.info.SetAborted(livekit.MsgLimitReachedWithoutStart)
	} else {
		r.info.SetLimitReached()
	}
	close(r.ended)
}

// finish uploads what there is and reports the last state.
func (r *recording) finish(err error) {
	info := r.snapshot()
	if err == nil && info.Status != livekit.EgressStatus_EGRESS_ABORTED {
		err = r.upload(info)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err != nil:
		r.info.SetFailed(err)
	case r.info.Status == livekit.EgressStatus_EGRESS_ENDING:
		r.info.SetComplete()
	}
	logger.Infow("recording ended", "egressID", r.info.EgressId, "status", r.info.Status.String(), "error", r.info.Error)
	r.report()
}

func (r *recording) upload(info *livekit.EgressInfo) error {
	ended := time.Now().UnixNano()
	location, size, err := put(r.target, r.sink.path, r.key, r.contentType)
	if err != nil {
		return psrpc.NewErrorf(psrpc.InvalidArgument, "S3 upload failed: %w", err)
	}
	r.mu.Lock()
	r.file.EndedAt, r.file.Duration = ended, ended-r.file.StartedAt
	r.file.Location, r.file.Size = location, size
	r.mu.Unlock()
	if r.disableManifest {
		return nil
	}
	manifest := map[string]any{
		"egress_id": info.EgressId, "room_id": info.RoomId, "room_name": info.RoomName,
		"started_at": info.StartedAt, "ended_at": ended,
		"files": []map[string]string{{"filename": r.key, "location": location}},
	}
	content, err := json.Marshal(manifest)
	if err != nil {
		return err
	}
	local := path.Join(r.folder, info.EgressId+".json")
	if err := os.WriteFile(local, content, 0o600); err != nil {
		return err
	}
	// A recording without its manifest is still a recording: egress only warns.
	where, _, err := put(r.target, local, path.Join(path.Dir(r.key), path.Base(local)), "application/json")
	if err != nil {
		logger.Warnw("manifest not uploaded", err, "egressID", info.EgressId)
		return nil
	}
	r.mu.Lock()
	r.info.ManifestLocation = where
	r.mu.Unlock()
	return nil
}

func (r *recording) snapshot() *livekit.EgressInfo {
	r.mu.Lock()
	defer r.mu.Unlock()
	return proto.Clone(r.info).(*livekit.EgressInfo)
}

// report queues the present state; the caller holds the lock. A recording has four states at most.
func (r *recording) report() {
	r.reports <- proto.Clone(r.info).(*livekit.EgressInfo)
}

func (r *recording) deliver(info *livekit.EgressInfo) {
	for deadline := time.Now().Add(reportFor); ; time.Sleep(reportEvery) {
		ctx, cancel := context.WithTimeout(context.Background(), reportWait)
		_, err := r.service.reports.UpdateEgress(ctx, info)
		cancel()
		if err == nil {
			return
		}
		logger.Warnw("state not reported", err, "egressID", info.EgressId, "status", info.Status.String())
		if time.Now().After(deadline) {
			return
		}
	}
}
