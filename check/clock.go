package check

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// maxSkew is half of how far ahead launchers look for due runs.
const maxSkew = 5 * time.Second

// clocks compares ours with the API's.
type clocks struct {
	skew  time.Duration // how far our clock is ahead, at least
	known bool
}

// compare reads the date of an answer that was written between asked and answered. It has
// whole seconds.
func (c *clocks) compare(asked, answered time.Time, date string) {
	at, err := http.ParseTime(date)
	if err != nil {
		return
	}
	c.known = true
	if ahead := asked.Sub(at.Add(time.Second)); ahead > 0 {
		c.skew = ahead
	} else if behind := at.Sub(answered); behind > 0 {
		c.skew = -behind
	}
}

func (c *clocks) clock(context.Context) (string, error) {
	switch {
	case !c.known:
		return "", skipped("the API's answers carry no date")
	case c.skew > maxSkew:
		return "", failed(fmt.Errorf("ours is %s ahead of the API's", c.skew.Round(time.Second)), "set both clocks by NTP: launchers compare due times with their own clock, so they start runs that much early")
	case c.skew < -maxSkew:
		return "", failed(fmt.Errorf("ours is %s behind the API's", -c.skew.Round(time.Second)), "set both clocks by NTP: launchers compare due times with their own clock, so they start runs that much late")
	}
	return fmt.Sprintf("at most %s from the API's", maxSkew), nil
}

// ask sends one request that any answer answers, and says where it ended if none comes.
func (c *clocks) ask(ctx context.Context, transport http.RoundTripper, address, setting string) error {
	ctx, at := traced(ctx)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return failed(err, "correct %s", setting)
	}
	asked := time.Now()
	client := http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(request)
	if err != nil {
		return unreached(err, at(), address, setting)
	}
	response.Body.Close()
	c.compare(asked, time.Now(), response.Header.Get("Date"))
	return nil
}
