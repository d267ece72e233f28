package main

import (
	"context"
	"fmt"
	"os"
	"path"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/livekit/protocol/livekit"
	"github.com/livekit/psrpc"
)

// madeBy stands in the file and in its S3 metadata, so that nobody takes it for a recording of the real egress.
const madeBy = "made by a stand-in for LiveKit egress: first audio track only, OGG container, no picture"

const uploadWait = 10 * time.Minute

// onlyFile is the one file output of a request; other outputs are refused rather than left out in silence.
func onlyFile(req *livekit.RoomCompositeEgressRequest) (*livekit.EncodedFileOutput, error) {
	outputs := req.FileOutputs
	if single := req.GetFile(); single != nil {
		outputs = append(outputs, single)
	}
	if len(outputs) != 1 || len(req.StreamOutputs)+len(req.SegmentOutputs)+len(req.ImageOutputs) > 0 ||
		req.GetStream() != nil || req.GetSegments() != nil || req.VideoOnly {
		return nil, errNotSupported
	}
	return outputs[0], nil
}

// objectKey gives the path of the file as egress completes it, and its content type.
func objectKey(
	req *livekit.RoomCompositeEgressRequest, output *livekit.EncodedFileOutput, now time.Time,
) (key, contentType string, err error) {
	kind := output.FileType
	if kind == livekit.EncodedFileType_DEFAULT_FILETYPE {
		kind = livekit.EncodedFileType_MP4
		if req.AudioOnly {
			kind = livekit.EncodedFileType_OGG
		}
	}
	types := map[livekit.EncodedFileType][2]string{
		livekit.EncodedFileType_MP4: {".mp4", "video/mp4"},
		livekit.EncodedFileType_OGG: {".ogg", "audio/ogg"},
	}
	named, known := types[kind]
	if !known || (kind == livekit.EncodedFileType_OGG && !req.AudioOnly) {
		return "", "", psrpc.NewErrorf(psrpc.InvalidArgument, "request has missing or invalid field: file_type")
	}
	key = strings.NewReplacer(
		"{room_name}", req.RoomName, "{time}", now.Format("2006-01-02T150405"),
	).Replace(output.Filepath)
	if key == "" || strings.HasSuffix(key, "/") {
		key += req.RoomName + "-" + now.Format("2006-01-02T150405")
	}
	if path.Ext(key) != named[0] {
		key += named[0]
	}
	return strings.TrimPrefix(path.Clean(key), "/"), named[1], nil
}

// checkTarget wants the storage in the request: the operator renders none into egress's configuration.
func checkTarget(target *livekit.S3Upload) error {
	missing := func(field string) error {
		return psrpc.NewErrorf(psrpc.InvalidArgument, "request has missing or invalid field: %s", field)
	}
	switch {
	case target == nil:
		return missing("s3")
	case target.Bucket == "":
		return missing("s3.bucket")
	case target.AccessKey == "" || target.Secret == "":
		return missing("s3.access_key and s3.secret")
	}
	return nil
}

// put uploads a file and gives its address and size.
func put(target *livekit.S3Upload, local, key, contentType string) (location string, size int64, err error) {
	file, err := os.Open(local)
	if err != nil {
		return "", 0, err
	}
	defer file.Close()
	stat, err := file.Stat()
	if err != nil {
		return "", 0, err
	}
	region := target.Region
	if region == "" {
		region = "us-east-1"
	}
	client := s3.New(s3.Options{
		Region:       region,
		Credentials:  credentials.NewStaticCredentialsProvider(target.AccessKey, target.Secret, target.SessionToken),
		UsePathStyle: target.ForcePathStyle,
	}, func(options *s3.Options) {
		if target.Endpoint != "" {
			options.BaseEndpoint = aws.String(withScheme(target.Endpoint))
		}
	})
	metadata := map[string]string{"egress": madeBy}
	for name, value := range target.Metadata {
		metadata[name] = value
	}
	ctx, cancel := context.WithTimeout(context.Background(), uploadWait)
	defer cancel()
	_, err = client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &target.Bucket, Key: &key, Body: file, ContentType: &contentType, Metadata: metadata,
	})
	if err != nil {
		return "", 0, err
	}
	return address(target, region, key), stat.Size(), nil
}

// address is where the object lies, as egress writes it into the file's `location`.
func address(target *livekit.S3Upload, region, key string) string {
	if target.Endpoint == "" {
		return fmt.Sprintf("https://%s.s3.%s.amazonaws.com/%s", target.Bucket, region, key)
	}
	base := strings.TrimSuffix(withScheme(target.Endpoint), "/")
	if target.ForcePathStyle {
		return fmt.Sprintf("%s/%s/%s", base, target.Bucket, key)
	}
	return strings.Replace(base, "://", "://"+target.Bucket+".", 1) + "/" + key
}

func withScheme(endpoint string) string {
	if strings.Contains(endpoint, "://") {
		return endpoint
	}
	return "https://" + endpoint
}
