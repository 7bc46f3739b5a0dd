package source

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// s3 reads objects of S3, or of what speaks like it at AWS_ENDPOINT_URL_S3.
type s3 struct{ connect func() (*minio.Core, error) }

func newS3(client *http.Client) *s3 {
	return &s3{sync.OnceValues(func() (*minio.Core, error) { return connectS3(client.Transport) })}
}

// connectS3 reads the variables that AWS's own tools read. It asks nobody.
func connectS3(transport http.RoundTripper) (*minio.Core, error) {
	endpoint := cmp.Or(os.Getenv("AWS_ENDPOINT_URL_S3"), os.Getenv("AWS_ENDPOINT_URL"))
	region := cmp.Or(os.Getenv("AWS_REGION"), os.Getenv("AWS_DEFAULT_REGION"))
	u := &url.URL{Scheme: "https", Host: "s3.amazonaws.com"}
	if endpoint != "" {
		var err error
		if u, err = url.Parse(endpoint); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return nil, errors.New("AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL is not a URL: give one like http://minio.minio:9000")
		}
		if region == "" {
			region = "us-east-1" // others than AWS rarely have regions; else it would be asked for
		}
	}
	return minio.NewCore(u.Host, &minio.Options{
		Creds: credentialsS3(transport), Secure: u.Scheme == "https", Region: region, Transport: transport, MaxRetries: 3,
	})
}

// credentialsS3 are those of the environment, of a role for this pod (IRSA, pod
// identity), of a file, of the instance, in this order. What is configured and
// fails is an error; where nothing is configured public objects can be read.
func credentialsS3(transport http.RoundTripper) *credentials.Credentials {
	webIdentity := os.Getenv("AWS_WEB_IDENTITY_TOKEN_FILE")
	switch {
	case os.Getenv("AWS_ACCESS_KEY_ID") != "", os.Getenv("AWS_ACCESS_KEY") != "":
		return credentials.NewEnvAWS()
	case webIdentity != "", os.Getenv("AWS_CONTAINER_CREDENTIALS_FULL_URI") != "", os.Getenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") != "":
		role := &credentials.IAM{}
		if webIdentity != "" {
			role.Endpoint = cmp.Or(os.Getenv("AWS_ENDPOINT_URL_STS"), os.Getenv("AWS_ENDPOINT_URL"))
		}
		return credentials.New(role)
	}
	chain := []credentials.Provider{&credentials.FileAWSCredentials{}}
	if os.Getenv("AWS_EC2_METADATA_DISABLED") != "true" {
		// Away from AWS nobody answers there.
		chain = append(chain, &credentials.IAM{Client: &http.Client{Transport: transport, Timeout: time.Second}})
	}
	return credentials.NewChainCredentials(chain)
}

func (s *s3) fetch(ctx context.Context, location, tag string) (text, error) {
	bucket, key, err := object(location)
	if err != nil {
		return text{}, err
	}
	core, err := s.connect()
	if err != nil {
		return text{}, err
	}
	name := "s3://" + bucket + "/" + key
	var o minio.GetObjectOptions
	if tag != "" {
		if err := o.SetMatchETagExcept(tag); err != nil {
			return text{}, fmt.Errorf("get %s: %w", name, err)
		}
	}
	body, info, _, err := core.GetObject(ctx, bucket, key, o)
	if err != nil {
		return text{}, wrongS3(name, err)
	}
	defer body.Close()
	read, err := limited(body, name)
	return text{body: read, tag: info.ETag}, err
}

func wrongS3(name string, err error) error {
	answer, ok := errors.AsType[minio.ErrorResponse](err)
	switch {
	case !ok:
		return fmt.Errorf("get %s: %w", name, err)
	case answer.StatusCode == http.StatusNotModified:
		return errSame
	case answer.StatusCode == http.StatusNotFound:
		return authorError(err, "Job template doesn't exist at %s: %s", name, answer.Code)
	case answer.StatusCode >= 500 || answer.StatusCode == http.StatusTooManyRequests || answer.Code == "SlowDown":
		return fmt.Errorf("get %s: %s: %w", name, answer.Code, err)
	}
	return authorError(err, "the job template at %s answers %s: check the name, and that the launcher's AWS role or key has s3:GetObject on it (in AWS_REGION)", name, answer.Code)
}
