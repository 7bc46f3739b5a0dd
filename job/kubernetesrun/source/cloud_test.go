package source

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/prefect-keda/prefect-keda/prefect"
)

// serve starts one of the servers in servers/ and returns its URL.
func serve(t *testing.T, name string, args ...string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), name)
	// The quickest way to compile them, and not with the flags of these tests.
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-gcflags=all=-dwarf=false -l", "-o", binary, "./"+name)
	build.Dir, build.Env = "servers", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the server %s: %v\n%s", name, err, out)
	}
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, binary, args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		_ = cmd.Wait() // killed
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the server %s does not say where it is: %v", name, err)
	}
	return strings.TrimSpace(line)
}

// nobody takes away the credentials of whoever runs the test.
func nobody(t *testing.T) {
	t.Helper()
	for _, name := range []string{
		"AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION",
		"AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
		"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL_STS", "STORAGE_EMULATOR_HOST", "GOOGLE_APPLICATION_CREDENTIALS",
	} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(t.TempDir(), "none"))
	t.Setenv("HOME", t.TempDir())
}

const (
	template = "kind: Job"
	key      = "access-key"
	secret   = "canary-secret-key"
)

// outcome is what a read comes to, in words.
func outcome(body []byte, err error) string {
	author := new(prefect.AuthorError)
	switch {
	case errors.As(err, &author):
		return "author: " + err.Error()
	case err != nil:
		return "error: " + err.Error()
	}
	return string(body)
}

func TestS3(t *testing.T) {
	endpoint := serve(t, "s3", key, secret)
	nobody(t)
	u, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	writer, err := minio.New(u.Host, &minio.Options{Creds: credentials.NewStaticV4(key, secret, "")})
	if err != nil {
		t.Fatal(err)
	}
	put := func(bucket, name string, body []byte) {
		t.Helper()
		if _, err := writer.PutObject(t.Context(), bucket, name, bytes.NewReader(body), int64(len(body)), minio.PutObjectOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	put("templates", "dir/job.yaml", []byte(template))
	put("templates", "large.yaml", make([]byte, maxBytes+1))
	writer, err = minio.New(u.Host, &minio.Options{}) // the open part of the server reads no signatures
	if err != nil {
		t.Fatal(err)
	}
	put("public", "job.yaml", []byte(template))

	// sts lends the key to those who come with the pod's token.
	sts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("Action") != "AssumeRoleWithWebIdentity" || r.FormValue("WebIdentityToken") != "pod token" || r.FormValue("RoleArn") != "arn:aws:iam::1:role/launcher" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		fmt.Fprintf(w, `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult><Credentials>
			<AccessKeyId>%s</AccessKeyId><SecretAccessKey>%s</SecretAccessKey><Expiration>2099-01-01T00:00:00Z</Expiration>
			</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`, key, secret)
	}))
	defer sts.Close()
	file := func(text string) string {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	busy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }))
	defer busy.Close()

	withKey := map[string]string{"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret}
	role := func(token string) map[string]string {
		return map[string]string{"AWS_WEB_IDENTITY_TOKEN_FILE": file(token), "AWS_ROLE_ARN": "arn:aws:iam::1:role/launcher", "AWS_ENDPOINT_URL_STS": sts.URL}
	}
	for _, tc := range []struct {
		name     string
		env      map[string]string
		location string
		want     string // the beginning
	}{
		{"a key", withKey, "s3://templates/dir/job.yaml", template},
		{"a wrong key", map[string]string{"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": "wrong"}, "s3://templates/dir/job.yaml", "author: the job template at s3://templates/dir/job.yaml answers "},
		{"a key in a file", map[string]string{"AWS_SHARED_CREDENTIALS_FILE": file("[default]\naws_access_key_id = " + key + "\naws_secret_access_key = " + secret + "\n")}, "s3://templates/dir/job.yaml", template},
		{"the pod's role", role("pod token"), "s3://templates/dir/job.yaml", template},
		{"a role that is not given to this pod", role("another"), "s3://templates/dir/job.yaml", "error: get s3://templates/dir/job.yaml: "},
		{"nobody, public", nil, "s3://public/job.yaml", template},
		{"nobody, private", nil, "s3://templates/dir/job.yaml", "author: the job template at s3://templates/dir/job.yaml answers "},
		{"no such object", withKey, "s3://templates/none", "author: Job template doesn't exist at s3://templates/none: NoSuchKey"},
		{"no such bucket", withKey, "s3://none/job.yaml", "author: Job template doesn't exist at s3://none/job.yaml: NoSuchBucket"},
		{"too large", withKey, "s3://templates/large.yaml", "author: the job template s3://templates/large.yaml is larger than 1 MiB"},
		{"no object", withKey, "s3://templates", "author: the job template location s3://templates names no object: write s3://BUCKET/KEY"},
		{"the server is busy", map[string]string{"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret, "AWS_ENDPOINT_URL": busy.URL}, "s3://templates/dir/job.yaml", "error: get s3://templates/dir/job.yaml: "},
		{"an endpoint that is none", map[string]string{"AWS_ENDPOINT_URL_S3": "minio:9000"}, "s3://templates/dir/job.yaml", "error: AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL is not a URL"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			nobody(t)
			t.Setenv("AWS_ENDPOINT_URL_S3", endpoint)
			if tc.env["AWS_ENDPOINT_URL"] != "" {
				t.Setenv("AWS_ENDPOINT_URL_S3", "")
			}
			for name, value := range tc.env {
				t.Setenv(name, value)
			}
			got := outcome(New(nil).Read(t.Context(), tc.location))
			if !strings.HasPrefix(got, tc.want) || strings.Contains(got, secret) {
				t.Errorf("%s, want %s", got, tc.want)
			}
		})
	}

	t.Run("is not read again while it is the same", func(t *testing.T) {
		nobody(t)
		t.Setenv("AWS_ENDPOINT_URL_S3", endpoint)
		t.Setenv("AWS_ACCESS_KEY_ID", key)
		t.Setenv("AWS_SECRET_ACCESS_KEY", secret)
		confirms(t, newS3(http.DefaultClient).fetch, "s3://templates/dir/job.yaml")
	})
}

// confirms reads a page, and once more by its tag and by another.
func confirms(t *testing.T, get fetch, location string) {
	t.Helper()
	p, err := get(t.Context(), location, "")
	if err != nil || p.tag == "" || string(p.body) != template {
		t.Fatalf("%+v, %v", p, err)
	}
	if _, err := get(t.Context(), location, p.tag); !errors.Is(err, errSame) {
		t.Errorf("by its tag it is not the same: %v", err)
	}
	if again, err := get(t.Context(), location, `"another"`); err != nil || again.tag != p.tag {
		t.Errorf("by another tag: %+v, %v", again, err)
	}
}

// detour directs requests for Google's own address to a server of ours, and lets
// in those with the token only.
type detour struct {
	server, token string
	t             *testing.T
}

// RoundTrip is that of http.RoundTripper.
func (g detour) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host != "storage.googleapis.com" {
		return http.DefaultTransport.RoundTrip(r)
	}
	if r.URL.Scheme != "https" {
		g.t.Errorf("asked without TLS: %s", r.URL)
	}
	if got := r.Header.Get("Authorization"); got != g.token {
		w := httptest.NewRecorder()
		w.WriteHeader(http.StatusUnauthorized)
		return w.Result(), nil
	}
	to, err := url.Parse(g.server)
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.URL.Scheme, r.URL.Host, r.Host = to.Scheme, to.Host, ""
	return http.DefaultTransport.RoundTrip(r)
}

// conditional adds what the server lacks and Google's own has: an answer to
// If-None-Match.
type conditional struct{}

// RoundTrip is that of http.RoundTripper.
func (conditional) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err == nil && resp.Header.Get("ETag") == r.Header.Get("If-None-Match") {
		resp.StatusCode = http.StatusNotModified
	}
	return resp, err
}

func TestGS(t *testing.T) {
	server := serve(t, "gcs")
	nobody(t)
	for name, body := range map[string][]byte{"dir/job 1.yaml": []byte(template), "large.yaml": make([]byte, maxBytes+1)} {
		resp, err := http.Post(server+"/upload/storage/v1/b/templates/o?uploadType=media&name="+url.QueryEscape(name), "text/yaml", bytes.NewReader(body))
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("upload: %v, %v", resp, err)
		}
		resp.Body.Close()
	}
	// The metadata server of a node, which workload identity answers too.
	metadata := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Metadata-Flavor") != "Google" || !strings.HasSuffix(r.URL.Path, "/token") {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		json.NewEncoder(w).Encode(map[string]any{"access_token": "pod", "expires_in": 3600, "token_type": "Bearer"})
	}))
	defer metadata.Close()

	for _, tc := range []struct {
		name     string
		env      map[string]string
		token    string // that the server wants
		location string
		want     string // the beginning
	}{
		{"an emulator", map[string]string{"STORAGE_EMULATOR_HOST": strings.TrimPrefix(server, "http://")}, "", "gs://templates/dir/job 1.yaml", template},
		{"an emulator's URL", map[string]string{"STORAGE_EMULATOR_HOST": server + "/"}, "", "gcs://templates/dir/job 1.yaml", template},
		{"the pod's identity", nil, "Bearer pod", "gs://templates/dir/job 1.yaml", template},
		{"another identity", nil, "Bearer another", "gs://templates/dir/job 1.yaml", "author: the job template at gs://templates/dir/job 1.yaml answers 401 Unauthorized: check the name, and that the launcher's Google service account has storage.objects.get on it"},
		{"no such object", nil, "Bearer pod", "gs://templates/none", "author: the job template at gs://templates/none answers 404 Not Found: check the name"},
		{"no such bucket", nil, "Bearer pod", "gs://none/job.yaml", "author: the job template at gs://none/job.yaml answers 404"},
		{"too large", nil, "Bearer pod", "gs://templates/large.yaml", "author: the job template gs://templates/large.yaml is larger than 1 MiB"},
		{"no object", nil, "Bearer pod", "gs://templates/", "author: the job template location gs://templates/ names no object: write gs://BUCKET/KEY"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			nobody(t)
			t.Setenv("GCE_METADATA_HOST", strings.TrimPrefix(metadata.URL, "http://"))
			for name, value := range tc.env {
				t.Setenv(name, value)
			}
			client := &http.Client{Transport: detour{server, tc.token, t}}
			if got := outcome(New(client).Read(t.Context(), tc.location)); !strings.HasPrefix(got, tc.want) {
				t.Errorf("%s, want %s", got, tc.want)
			}
		})
	}

	t.Run("is not read again while it is the same", func(t *testing.T) {
		nobody(t)
		t.Setenv("STORAGE_EMULATOR_HOST", server)
		confirms(t, (&gs{client: &http.Client{Transport: conditional{}}}).fetch, "gs://templates/dir/job 1.yaml")
	})
}
