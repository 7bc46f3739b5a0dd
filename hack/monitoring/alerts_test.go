package monitoring

import (
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/rules"
)

// firing is an alert that somebody is told of, as Prometheus sends it.
type firing struct{ Alert, Labels, Description string }

// evaluate evaluates all rules once a minute, as Prometheus does, over series in the language
// of its own tests, and returns what fires at last.
func evaluate(t *testing.T, series string, at time.Duration) []firing {
	t.Helper()
	store := promqltest.LoadedStorage(t, "load 1m\n"+series)
	engine := promqltest.NewTestEngine(t, false, 0, promqltest.DefaultMaxSamplesPerQuery)
	query := rules.EngineQueryFunc(engine, store)
	var all []firing
	for _, group := range ruleGroups(t) {
		for _, rule := range group.Rules {
			r := alerting(t, rule)
			for now := time.Duration(0); now <= at; now += time.Minute {
				if _, err := r.Eval(t.Context(), 0, time.Unix(0, 0).Add(now), query, nil, 0); err != nil {
					t.Fatalf("%s: %v", rule.Alert, err)
				}
			}
			for _, a := range r.ActiveAlerts() {
				if a.State != rules.StateFiring {
					continue
				}
				var shown []string
				a.Labels.Range(func(l labels.Label) {
					if l.Name != "alertname" && l.Name != "severity" {
						shown = append(shown, l.Name+"="+l.Value)
					}
				})
				all = append(all, firing{rule.Alert, strings.Join(shown, " "), a.Annotations.Get("description")})
			}
		}
	}
	slices.SortFunc(all, func(a, b firing) int { return strings.Compare(a.Alert+a.Labels, b.Alert+b.Labels) })
	return all
}

func alerting(t *testing.T, rule rulefmt.Rule) *rules.AlertingRule {
	t.Helper()
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(rule.Expr)
	if err != nil {
		t.Fatalf("%s: %v", rule.Alert, err)
	}
	return rules.NewAlertingRule(rule.Alert, expr, time.Duration(rule.For), time.Duration(rule.KeepFiringFor),
		labels.FromMap(rule.Labels), labels.FromMap(rule.Annotations), labels.EmptyLabels(), "", true, slog.New(slog.DiscardHandler))
}

// well is one hour of an installation without a launcher, in which nothing is wrong: the scaler
// polls, KEDA asks every minute and nothing is due. Series that a case gives take the place of
// those with the same name and labels.
const well = `
prefect_keda_scaler_streams{S} 1x60
prefect_keda_scaler_ready{S} 1x60
prefect_keda_scaler_polls_total{S,connection="default",result="ok"} 0+12x60
prefect_keda_scaler_snapshot_stale{S,connection="default"} 0x60
prefect_keda_scaler_snapshot_age_seconds{S,connection="default"} 3x60
prefect_keda_scaler_connection_last_asked_timestamp_seconds{S,connection="default"} 0+60x60
prefect_keda_scaler_requests_total{S,method="IsActive",code="OK"} 0+12x60
prefect_keda_scaler_runs_untaken_seconds{S,scaled_object="prefect-keda/prefect-keda-launcher"} 0x60
prefect_keda_scaler_runs_unserved_longest_seconds{S,connection="default"} 0x60
prefect_keda_scaler_runs_stuck_longest_seconds{S,connection="default",kind="unschedulable"} 0x60
process_start_time_seconds{S} 1000x60
`

// world is well with other series put in. S, T and L stand for the labels of two pods of the
// scaler and one of a launcher.
func world(instead string) string {
	var lines []string
	for line := range strings.Lines(well) {
		series, _, _ := strings.Cut(line, " ")
		if strings.TrimSpace(line) != "" && !strings.Contains(instead, "\n"+series+" ") && !strings.Contains(instead, "\n"+series+"\n") {
			lines = append(lines, line)
		}
	}
	for line := range strings.Lines(instead) {
		if _, values, _ := strings.Cut(strings.TrimSpace(line), " "); values != "" { // without values the series is taken away
			lines = append(lines, line)
		}
	}
	return strings.NewReplacer(
		"{S", `{namespace="prefect-keda",pod="scaler-1",job="prefect-keda-scaler"`,
		"{T", `{namespace="prefect-keda",pod="scaler-2",job="prefect-keda-scaler"`,
		"{L", `{namespace="prefect-keda",pod="launcher-1",job="prefect-keda-launcher"`,
		"{M", `{namespace="prefect-keda",pod="launcher-2",job="prefect-keda-launcher"`,
		"{B", `{namespace="prefect-keda",pod="launcher-b-1",job="prefect-keda-launcher-team-b"`,
	).Replace(strings.Join(lines, ""))
}

// down takes all series of the scaler away from some minute on.
func down(since string) string {
	var all strings.Builder
	for line := range strings.Lines(well) {
		if series, values, is := strings.Cut(strings.TrimSpace(line), " "); is {
			all.WriteString("\n" + series + " " + regexp.MustCompile(`x60$`).ReplaceAllString(values, "x"+since))
		}
	}
	return all.String() + "\n"
}

const home = "namespace=prefect-keda"

// cases has for each alert one in which it fires and one in which it nearly does.
func cases() []struct {
	name   string
	about  string // the alert
	series string
	at     time.Duration
	want   []firing
} {
	return []struct {
		name, about, series string
		at                  time.Duration
		want                []firing
	}{
		{"all is well, with no launcher", "", "", time.Hour, nil},
		{
			"the scaler is gone", "PrefectKedaScalerDown", down("20"), 32 * time.Minute,
			[]firing{{"PrefectKedaScalerDown", home, "Prometheus has reached no scaler of prefect-keda in namespace prefect-keda for 5 minutes. " +
				"Either none runs, then KEDA starts no launcher and no new flow run starts, or only the scrape fails."}},
		},
		{
			"no scaler was ever scraped", "PrefectKedaScalerDown", regexp.MustCompile(` .*`).ReplaceAllString(down("0"), ""), 10 * time.Minute,
			[]firing{{"PrefectKedaScalerDown", "", "Prometheus has reached no scaler of prefect-keda for 5 minutes. " +
				"Either none runs, then KEDA starts no launcher and no new flow run starts, or only the scrape fails."}},
		},
		{"the scaler moves to another node", "PrefectKedaScalerDown", "\nprefect_keda_scaler_streams{S} 1x20 stale _x3 1x40\n", 23 * time.Minute, nil},
		{"one of two scalers is gone", "PrefectKedaScalerDown", "\nprefect_keda_scaler_streams{T} 1x10 stale\n", time.Hour, nil},
		{
			"a Role is missing", "PrefectKedaScalerNotReady", "\nprefect_keda_scaler_ready{S} 0x60\nprefect_keda_scaler_connection_last_asked_timestamp_seconds{S,connection=\"default\"} 0x60\n", 30 * time.Minute,
			[]firing{{"PrefectKedaScalerNotReady", home, "No scaler in namespace prefect-keda has been ready for 5 minutes, so KEDA starts no launcher and no new flow run starts. " +
				"Its log says what is missing: mostly a Role, or the namespace of the Jobs."}},
		},
		{"one of two scalers starts for long", "PrefectKedaScalerNotReady", "\nprefect_keda_scaler_ready{T} 0x60\n", time.Hour, nil},
		{"the scaler is not ready for 4 minutes", "PrefectKedaScalerNotReady", "\nprefect_keda_scaler_ready{S} 1x20 0x4 1x40\n", 25 * time.Minute, nil},
		{
			"the key has expired", "PrefectKedaKeyRefused", `
prefect_keda_scaler_polls_total{S,connection="default",result="ok"} 0+12x20 240x40
prefect_keda_scaler_polls_total{S,connection="default",result="auth"} 0x20 0+12x40
prefect_keda_scaler_snapshot_stale{S,connection="default"} 0x22 1x40
`, 40 * time.Minute,
			[]firing{{"PrefectKedaKeyRefused", "connection=default " + home, "Prefect has refused the key, auth string or tenant of the scaler in namespace prefect-keda for 5 minutes " +
				"(connection default). Launchers mostly have the same one, so no new flow run starts."}},
		},
		{
			"the key was wrong from the start", "PrefectKedaKeyRefused", `
prefect_keda_scaler_polls_total{S,connection="default",result="ok"}
prefect_keda_scaler_polls_total{S,connection="default",result="auth"} 12+12x60
prefect_keda_scaler_snapshot_stale{S,connection="default"} 1x60
`, 10 * time.Minute,
			[]firing{{"PrefectKedaKeyRefused", "connection=default " + home, "Prefect has refused the key, auth string or tenant of the scaler in namespace prefect-keda for 5 minutes " +
				"(connection default). Launchers mostly have the same one, so no new flow run starts."}},
		},
		{"a proxy refuses one question in two", "PrefectKedaKeyRefused", "\nprefect_keda_scaler_polls_total{S,connection=\"default\",result=\"auth\"} 0+12x60\n", time.Hour, nil},
		{
			"Prefect is away, for both scalers, and had refused the key once", "PrefectKedaSnapshotStale", `
prefect_keda_scaler_polls_total{S,connection="default",result="ok"} 0+12x20 240x40
prefect_keda_scaler_polls_total{S,connection="default",result="auth"} 5x60
prefect_keda_scaler_polls_total{S,connection="default",result="error"} 0x20 0+12x40
prefect_keda_scaler_snapshot_stale{S,connection="default"} 0x22 1x40
prefect_keda_scaler_snapshot_stale{T,connection="default"} 0x22 1x40
`, 30 * time.Minute,
			[]firing{{"PrefectKedaSnapshotStale", "connection=default " + home, "Prefect does not answer the scaler in namespace prefect-keda (connection default), " +
				"and its last answer has been too old to be served for 5 minutes. KEDA gets errors and leaves the number of launchers as it is."}},
		},
		{
			"one Prefect of two is away, for one of two scalers, and it restarts", "PrefectKedaSnapshotStale", `
prefect_keda_scaler_snapshot_stale{S,connection="prefect3"} 0x60
prefect_keda_scaler_snapshot_stale{T,connection="default"} 0x60
prefect_keda_scaler_snapshot_stale{T,connection="prefect3"} 1x20 _x2 1x40
`, 40 * time.Minute,
			[]firing{{"PrefectKedaSnapshotStale", "connection=prefect3 " + home, "Prefect does not answer the scaler in namespace prefect-keda (connection prefect3), " +
				"and its last answer has been too old to be served for 5 minutes. KEDA gets errors and leaves the number of launchers as it is."}},
		},
		{
			"one of two scalers has an old key", "PrefectKedaSnapshotStale", `
prefect_keda_scaler_polls_total{T,connection="default",result="auth"} 12+12x60
prefect_keda_scaler_snapshot_stale{T,connection="default"} 1x60
`, 20 * time.Minute,
			[]firing{{"PrefectKedaSnapshotStale", "connection=default " + home, "Prefect does not answer the scaler in namespace prefect-keda (connection default), " +
				"and its last answer has been too old to be served for 5 minutes. KEDA gets errors and leaves the number of launchers as it is."}},
		},
		{"Prefect is upgraded for 5 minutes", "PrefectKedaSnapshotStale", "\nprefect_keda_scaler_snapshot_stale{S,connection=\"default\"} 0x22 1x3 0x40\n", 26 * time.Minute, nil},
		{
			"KEDA is gone, for both scalers, so nobody asks for a run that is due", "PrefectKedaNotAsked", `
prefect_keda_scaler_connection_last_asked_timestamp_seconds{S,connection="default"} 0+60x20 1200x40
prefect_keda_scaler_connection_last_asked_timestamp_seconds{T,connection="default"} 0+60x20 1200x40
prefect_keda_scaler_runs_unserved_longest_seconds{S,connection="default"} 0x20 700+60x39
`, 29 * time.Minute,
			[]firing{{"PrefectKedaNotAsked", "connection=default " + home, "KEDA has not asked the scaler in namespace prefect-keda about connection default for 9m 0s. " +
				"Without its questions no launcher starts and no new flow run starts."}},
		},
		{"KEDA asks one of two scalers", "PrefectKedaNotAsked", "\nprefect_keda_scaler_connection_last_asked_timestamp_seconds{T,connection=\"default\"} 0x60\n", time.Hour, nil},
		{"KEDA is away for 8 minutes", "PrefectKedaNotAsked", "\nprefect_keda_scaler_connection_last_asked_timestamp_seconds{S,connection=\"default\"} 0+60x20 1200x7 1740+60x40\n", 28 * time.Minute, nil},
		{
			"a trigger is misspelt", "PrefectKedaTriggerRefused", `
prefect_keda_scaler_requests_total{S,method="IsActive",code="InvalidArgument"} 1+12x60
prefect_keda_scaler_connection_last_asked_timestamp_seconds{S,connection="default"} 0x60
`, 20 * time.Minute,
			[]firing{{"PrefectKedaNotAsked", "connection=default " + home, "KEDA has not asked the scaler in namespace prefect-keda about connection default for 20m 0s. " +
				"Without its questions no launcher starts and no new flow run starts."}, {"PrefectKedaTriggerRefused", "code=InvalidArgument " + home, "The scaler in namespace prefect-keda has answered KEDA with InvalidArgument for 10 minutes. " +
				"A ScaledObject or ScaledJob has a trigger that is wrong, or may not ask; KEDA does not scale it."}},
		},
		{"a trigger was misspelt for 3 minutes", "PrefectKedaTriggerRefused", "\nprefect_keda_scaler_requests_total{S,method=\"IsActive\",code=\"InvalidArgument\"} 0x10 0+12x3 36x50\n", 17 * time.Minute, nil},
		{"KEDA gets errors while Prefect is away", "PrefectKedaTriggerRefused", "\nprefect_keda_scaler_requests_total{S,method=\"IsActive\",code=\"Unavailable\"} 0+12x60\n", time.Hour, nil},
		{
			"no launcher comes up", "PrefectKedaRunsUntaken", "\nprefect_keda_scaler_runs_untaken_seconds{S,scaled_object=\"prefect-keda/prefect-keda-launcher\"} 0x20 60+60x40\n", 28 * time.Minute,
			[]firing{{"PrefectKedaRunsUntaken", home + " scaled_object=prefect-keda/prefect-keda-launcher", "Launchers of prefect-keda/prefect-keda-launcher have been wanted for 8m 0s and have taken none of the due runs. " +
				"Either no launcher comes up, or it is up and cannot claim (scaler in namespace prefect-keda)."}},
		},
		{"a node and an image take 4 minutes", "PrefectKedaRunsUntaken", "\nprefect_keda_scaler_runs_untaken_seconds{S,scaled_object=\"prefect-keda/prefect-keda-launcher\"} 0x20 60+60x4 0x30\n", 25 * time.Minute, nil},
		{
			"a work pool has no ScaledObject", "PrefectKedaRunsUnserved", `
prefect_keda_scaler_runs_unserved_longest_seconds{S,connection="default"} 0x10 60+60x50
prefect_keda_scaler_runs_unserved_longest_seconds{T,connection="default"} 5000+60x60
prefect_keda_scaler_connection_last_asked_timestamp_seconds{T,connection="default"} 0x60
`, 27 * time.Minute,
			[]firing{{"PrefectKedaRunsUnserved", "connection=default " + home, "A flow run of connection default has been due for 17m 0s, and no ScaledObject that asks the scaler in namespace prefect-keda " +
				"serves its work pool and queue or, with Prefect 1, its labels."}},
		},
		{
			"the second scaler, which KEDA does not ask, knows of no ScaledObject", "PrefectKedaRunsUnserved",
			"\nprefect_keda_scaler_runs_unserved_longest_seconds{T,connection=\"default\"} 5000+60x60\nprefect_keda_scaler_connection_last_asked_timestamp_seconds{T,connection=\"default\"} 0x60\n",
			time.Hour, nil,
		},
		{"a worker takes its own runs within minutes", "PrefectKedaRunsUnserved", "\nprefect_keda_scaler_runs_unserved_longest_seconds{S,connection=\"default\"} 0 60+60x13 0+60x13 0+60x13\n", 14 * time.Minute, nil},
		{
			"no node takes a pod", "PrefectKedaRunsStuck", "\nprefect_keda_scaler_runs_stuck_longest_seconds{S,connection=\"default\",kind=\"unschedulable\"} 0x10 60+60x50\n", 32 * time.Minute,
			[]firing{{"PrefectKedaRunsStuck", "connection=default kind=unschedulable " + home, "A flow run of connection default has waited for 22m 0s for its Job or pod to start (unschedulable). " +
				"It waits for ever unless PREFECT_KEDA_PENDING_TIMEOUT is set. The scaler is in namespace prefect-keda."}},
		},
		{
			"no launcher is up to create a Job", "PrefectKedaRunsStuck", "\nprefect_keda_scaler_runs_stuck_longest_seconds{S,connection=\"default\",kind=\"no_job\"} 0x10 60+60x50\n", 32 * time.Minute,
			[]firing{{"PrefectKedaRunsStuck", "connection=default kind=no_job " + home, "A flow run of connection default has waited for 22m 0s for its Job or pod to start (no_job). " +
				"The scaler is in namespace prefect-keda."}},
		},
		{"one run after another waits for a node for 18 minutes", "PrefectKedaRunsStuck", "\nprefect_keda_scaler_runs_stuck_longest_seconds{S,connection=\"default\",kind=\"unschedulable\"} 60+60x17 60+60x17 60+60x17\n", 17 * time.Minute, nil},
		{
			"a Role is taken away, of which one of two scalers hears", "PrefectKedaWatchFailing", `
prefect_keda_scaler_watch_failing{S,jobs_namespace="prefect-flows",resource="pods"} 0x20 1x40
prefect_keda_scaler_watch_failing{S,jobs_namespace="prefect-flows",resource="jobs"} 0x60
prefect_keda_scaler_watch_failing{T,jobs_namespace="prefect-flows",resource="pods"} 0x60
`, 32 * time.Minute,
			[]firing{{"PrefectKedaWatchFailing", "jobs_namespace=prefect-flows " + home + " resource=pods", "The scaler in namespace prefect-keda has not been able to read pods in prefect-flows for 10 minutes. " +
				"Due runs get their launchers, but of Jobs in trouble and of claims without a Job it knows only what was so before."}},
		},
		{
			"the control plane is upgraded for 9 minutes", "PrefectKedaWatchFailing",
			"\nprefect_keda_scaler_watch_failing{S,jobs_namespace=\"prefect-flows\",resource=\"pods\"} 0x20 1x9 0x30\n", 30 * time.Minute, nil,
		},
		{
			"the scaler runs out of memory", "PrefectKedaScalerRestarting", "\nprocess_start_time_seconds{S} 1000x20 2200x3 2380x3 2560x3 2740x40\n", 38 * time.Minute,
			[]firing{{"PrefectKedaScalerRestarting", home, "A scaler in namespace prefect-keda has restarted 4 times within 30 minutes. While it restarts, KEDA changes nothing, and scheduled runs may start late."}},
		},
		{
			"two scalers restart twice each", "PrefectKedaScalerRestarting",
			"\nprocess_start_time_seconds{S} 1000x20 2200x3 2380x40\nprocess_start_time_seconds{T} 1000x20 2200x3 2380x40\n", 40 * time.Minute, nil,
		},
		{"two scalers see the same, and it is not bad enough", "", `
prefect_keda_scaler_runs_untaken_seconds{S,scaled_object="prefect-keda/prefect-keda-launcher"} 200x60
prefect_keda_scaler_runs_untaken_seconds{T,scaled_object="prefect-keda/prefect-keda-launcher"} 200x60
prefect_keda_scaler_runs_stuck_longest_seconds{S,connection="default",kind="unschedulable"} 500x60
prefect_keda_scaler_runs_stuck_longest_seconds{T,connection="default",kind="unschedulable"} 500x60
prefect_keda_scaler_runs_unserved_longest_seconds{S,connection="default"} 400x60
prefect_keda_scaler_runs_unserved_longest_seconds{T,connection="default"} 400x60
prefect_keda_scaler_ready{T} 1x60
`, time.Hour, nil},
		{
			"another one takes all runs", "PrefectKedaClaimsRefused", `
prefect_keda_launcher_claims_total{L,answer="won"} 0x60
prefect_keda_launcher_claims_total{L,answer="lost"} 0+2x60
prefect_keda_launcher_claims_total{L,answer="not_now"} 0+1x60
prefect_keda_launcher_claims_total{B,answer="won"} 0+5x60
prefect_keda_launcher_claims_total{B,answer="lost"} 0x60
`, 30 * time.Minute,
			[]firing{{"PrefectKedaClaimsRefused", "job=prefect-keda-launcher " + home, "Within 15 minutes Prefect has refused about 45 claims of prefect-keda-launcher in namespace prefect-keda, and granted none. " +
				"Somebody else takes these runs, or a limit keeps them."}},
		},
		{"one of two launchers loses all its claims to the other", "PrefectKedaClaimsRefused", `
prefect_keda_launcher_claims_total{L,answer="won"} 0x60
prefect_keda_launcher_claims_total{L,answer="lost"} 0+5x60
prefect_keda_launcher_claims_total{M,answer="won"} 0+1x60
prefect_keda_launcher_claims_total{M,answer="lost"} 0x60
`, time.Hour, nil},
		{"no claim is won for the first minutes", "PrefectKedaClaimsRefused", `
prefect_keda_launcher_claims_total{L,answer="won"} 0x25 1+1x30
prefect_keda_launcher_claims_total{L,answer="lost"} 0x20 0+5x40
`, 25 * time.Minute, nil},
		{"a launcher won claims before its first scrape, and loses the others", "PrefectKedaClaimsRefused", `
prefect_keda_launcher_claims_total{L,answer="won"} _x20 3x40
prefect_keda_launcher_claims_total{L,answer="lost"} _x20 0+5x40
`, 34 * time.Minute, nil},
		{
			"a launcher won claims long ago", "PrefectKedaClaimsRefused", "\nprefect_keda_launcher_claims_total{L,answer=\"won\"} 3x60\nprefect_keda_launcher_claims_total{L,answer=\"lost\"} 0+5x60\n", time.Hour,
			[]firing{{"PrefectKedaClaimsRefused", "job=prefect-keda-launcher " + home, "Within 15 minutes Prefect has refused about 75 claims of prefect-keda-launcher in namespace prefect-keda, and granted none. " +
				"Somebody else takes these runs, or a limit keeps them."}},
		},
		{"a launcher lost a few claims, and left", "PrefectKedaClaimsRefused", "\nprefect_keda_launcher_claims_total{L,answer=\"won\"} _x20 0x3\nprefect_keda_launcher_claims_total{L,answer=\"lost\"} _x20 0 2 5 8\n", 30 * time.Minute, nil},
		{
			"Kubernetes refuses all Jobs, launcher after launcher", "PrefectKedaLauncherFailing", `
prefect_keda_launcher_consecutive_failures{L,upstream="kubernetes"} 0 6+6x20 stale
prefect_keda_launcher_consecutive_failures{M,upstream="kubernetes"} _x20 6+6x20
prefect_keda_launcher_consecutive_failures{L,upstream="prefect_agent"} 10+6x20 stale
`, 30 * time.Minute,
			[]firing{{"PrefectKedaLauncherFailing", "job=prefect-keda-launcher " + home + " upstream=kubernetes", "prefect-keda-launcher in namespace prefect-keda has failed 66 times in a row at kubernetes, for more than 3 minutes. " +
				"What depends on it waits: new runs, or Jobs in trouble."}},
		},
		{
			"the quota of Jobs is full, so the launcher hands its runs back and leaves", "PrefectKedaLauncherFailing",
			"\nprefect_keda_launcher_consecutive_failures{L,upstream=\"kubernetes\"} 0 6+6x4 stale\n", 30 * time.Minute,
			[]firing{{"PrefectKedaLauncherFailing", "job=prefect-keda-launcher " + home + " upstream=kubernetes", "prefect-keda-launcher in namespace prefect-keda has failed 30 times in a row at kubernetes, for more than 3 minutes. " +
				"What depends on it waits: new runs, or Jobs in trouble."}},
		},
		{"Kubernetes fails now and then, and Prefect 1's UI shows no agent", "PrefectKedaLauncherFailing", `
prefect_keda_launcher_consecutive_failures{L,upstream="kubernetes"} 0 6 0 7 9 0 6 6 6 0 1 2 3 4 0x40
prefect_keda_launcher_consecutive_failures{L,upstream="prefect_agent"} 10+6x60
`, 8 * time.Minute, nil},
		{"two launchers fail four times each", "PrefectKedaLauncherFailing", `
prefect_keda_launcher_consecutive_failures{L,upstream="kubernetes"} 4x60
prefect_keda_launcher_consecutive_failures{M,upstream="kubernetes"} 4x60
`, time.Hour, nil},
		{
			"a launcher crashes again and again", "PrefectKedaLauncherRestarting", "\nprocess_start_time_seconds{L} 1000x5 1300x3 1500x3 1700x3 1900x40\n", 25 * time.Minute,
			[]firing{{"PrefectKedaLauncherRestarting", "job=prefect-keda-launcher " + home, "A pod of prefect-keda-launcher in namespace prefect-keda has restarted 4 times within 30 minutes. Runs that it had in hand wait for the next launcher."}},
		},
		{
			"two pods of a launcher restart twice each", "PrefectKedaLauncherRestarting",
			"\nprocess_start_time_seconds{L} 1000x5 1300x3 1500x40\nprocess_start_time_seconds{M} 1000x5 1300x3 1500x40\n", 25 * time.Minute, nil,
		},
		{"one launcher comes after another", "PrefectKedaLauncherRestarting", "\nprocess_start_time_seconds{L} 1000x3 stale\nprocess_start_time_seconds{M} _x5 1300x3 stale\nprocess_start_time_seconds{B} _x10 1600x3 stale\n", 25 * time.Minute, nil},
	}
}

func TestAlerts(t *testing.T) {
	fires, quiet := map[string]bool{}, map[string]bool{}
	for _, tc := range cases() {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, evaluate(t, world(tc.series), tc.at)); diff != "" {
				t.Errorf("firing (-want +got):\n%s", diff)
			}
		})
		fires[tc.about] = fires[tc.about] || len(tc.want) > 0
		quiet[tc.about] = quiet[tc.about] || len(tc.want) == 0
	}
	for _, group := range ruleGroups(t) {
		for _, rule := range group.Rules {
			if !fires[rule.Alert] || !quiet[rule.Alert] {
				t.Errorf("%s: there is a case in which it fires: %v, and one in which it nearly does: %v", rule.Alert, fires[rule.Alert], quiet[rule.Alert])
			}
		}
	}
}
