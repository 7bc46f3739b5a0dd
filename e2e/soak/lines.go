package soak

import (
	"encoding/json"
	"strings"
)

// explained are the messages of error-level lines that a soak may bring about, and why.
func explained() map[string]string {
	return map[string]string{
		"permissions are missing, or the namespace is; waiting for them": "a process may start before the API server has heard of its Role; one that never gets it launches nothing, which is noticed",
	}
}

// Unexplained are the lines of a process's log that tell of a panic or of a data race, or are
// of level error and not explained.
func Unexplained(log string) (lines []string) {
	for line := range strings.Lines(log) {
		line = strings.TrimSpace(line)
		for _, begin := range []string{"panic: ", "fatal error: ", "WARNING: DATA RACE"} {
			if strings.HasPrefix(line, begin) {
				lines = append(lines, line)
			}
		}
		var said struct{ Level, Msg string }
		if json.Unmarshal([]byte(line), &said) == nil && said.Level == "ERROR" && explained()[said.Msg] == "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// Created is how many Jobs a launcher has created, by its log.
func Created(log string) (jobs int) {
	for line := range strings.Lines(log) {
		var said struct{ Msg string }
		if json.Unmarshal([]byte(line), &said) == nil && said.Msg == "created the Job" {
			jobs++
		}
	}
	return jobs
}
