package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// clockOffset is the variable with the seconds by which a skewed binary's clock is ahead.
const clockOffset = "CHAOS_CLOCK_OFFSET"

// BuildSkewed builds the package in dir with a clock that CHAOS_CLOCK_OFFSET puts off: a
// static Go binary asks the kernel itself, so nothing around it can. The library's time.Now
// is replaced; timers, which follow the monotonic clock, stay as they are.
func BuildSkewed(ctx context.Context, dir, binary string) error {
	root, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return fmt.Errorf("find Go's library: %w", err)
	}
	path := filepath.Join(strings.TrimSpace(string(root)), "src/time/time.go")
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	const now = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
	skewed := strings.Replace(string(text), now, now+"\tsec += chaosOffset\n", 1)
	if skewed == string(text) {
		return errors.New("Go's time.Now is not as we know it: correct package chaos") //nolint:staticcheck // a name begins it
	}
	skewed += fmt.Sprintf(`
var chaosOffset = func() (seconds int64) {
	text, _ := syscall.Getenv(%q)
	for _, digit := range []byte(text) {
		seconds = seconds*10 + int64(digit-'0')
	}
	return seconds
}()
`, clockOffset)
	skewed = strings.Replace(skewed, "import (\n", "import (\n\t\"syscall\"\n", 1)
	work := filepath.Dir(binary)
	replaced, overlay := filepath.Join(work, "time.go"), filepath.Join(work, "overlay.json")
	list, err := json.Marshal(map[string]any{"Replace": map[string]string{path: replaced}})
	if err := errors.Join(err, os.WriteFile(replaced, []byte(skewed), 0o600), os.WriteFile(overlay, list, 0o600)); err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, "go", "build", "-overlay", overlay, "-o", binary, dir).CombinedOutput(); err != nil {
		return fmt.Errorf("build with a skewed clock: %w\n%s", err, out)
	}
	return nil
}
