package source

import (
	"context"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"
)

// gs reads objects of Google Cloud Storage: one authorized GET, for which
// Google's own client would be larger than all of ours.
type gs struct {
	client *http.Client

	mu         sync.Mutex
	authorized *http.Client
}

func (g *gs) fetch(ctx context.Context, location, tag string) (text, error) {
	bucket, key, err := object(location)
	if err != nil {
		return text{}, err
	}
	base, client := "https://storage.googleapis.com", g.client
	if emulator := os.Getenv("STORAGE_EMULATOR_HOST"); emulator != "" {
		// As Google's own clients take it: with or without a scheme, and without credentials.
		if base = strings.TrimRight(emulator, "/"); !strings.Contains(base, "://") {
			base = "http://" + base
		}
	} else {
		client = g.withCredentials(ctx)
	}
	u, err := url.Parse(base + "/storage/v1/b/" + url.PathEscape(bucket) + "/o/" + url.PathEscape(key) + "?alt=media")
	if err != nil {
		return text{}, authorError(nil, "the Job template location gs://%s/%s is not valid: give gs://BUCKET/KEY", bucket, key)
	}
	return get(ctx, client, u, tag, "gs://"+bucket+"/"+key,
		"check the name, and that the launcher's Google service account has storage.objects.get on it (GOOGLE_APPLICATION_CREDENTIALS or workload identity)")
}

// withCredentials adds those of GOOGLE_APPLICATION_CREDENTIALS, gcloud or the
// metadata server, in this order. Without any, it can read public objects.
func (g *gs) withCredentials(ctx context.Context) *http.Client {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.authorized != nil {
		return g.authorized
	}
	// Tokens are fetched with this context for as long as the process lives.
	ctx = context.WithValue(context.WithoutCancel(ctx), oauth2.HTTPClient, &http.Client{Transport: g.client.Transport, Timeout: timeout})
	found, err := google.FindDefaultCredentials(ctx, "https://www.googleapis.com/auth/devstorage.read_only")
	if err != nil {
		return g.client
	}
	g.authorized = oauth2.NewClient(ctx, found.TokenSource)
	return g.authorized
}
