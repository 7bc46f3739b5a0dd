package jobs

import (
	"errors"
	"fmt"
	"io"
)

const (
	// maxTold bounds a container's last lines, in bytes.
	maxTold = 16 << 10
	// maxLogBytes bounds the bytes read. Runtimes cut lines at 16 KiB and count the pieces
	// as lines, so a thousand lines are fewer bytes.
	maxLogBytes = 32 << 20
	// cut replaces the beginning.
	cut = "…"
)

// endOf reads to the end and keeps the last bytes.
func endOf(r io.Reader, keep, most int) (string, error) {
	buffer := make([]byte, 0, 4*keep)
	for read := 0; ; {
		if len(buffer) == cap(buffer) {
			buffer = append(buffer[:0], buffer[len(buffer)-keep:]...)
		}
		n, err := r.Read(buffer[len(buffer):cap(buffer)])
		buffer, read = buffer[:len(buffer)+n], read+n
		switch {
		case read > most:
			return "", fmt.Errorf("its last lines are longer than %d bytes", most)
		case errors.Is(err, io.EOF) && read <= keep:
			return string(buffer), nil
		case errors.Is(err, io.EOF):
			return cut + string(buffer[len(buffer)-keep:]), nil
		case err != nil:
			return "", err
		}
	}
}
