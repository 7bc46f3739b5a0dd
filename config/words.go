package config

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"time"

	"github.com/spf13/pflag"
)

// plain rewrites an error of the standard library's parsers for the person who wrote the
// text. Errors of our own types need no rewriting.
func (s Setting) plain(text string, err error) error {
	_, aboutNumber := errors.AsType[*strconv.NumError](err)
	if s.kind == reflect.TypeFor[time.Duration]() {
		return wrongText(text, "duration", err)
	}
	if aboutNumber {
		return wrongText(text, s.kind.Kind().String(), err)
	}
	return err
}

// wrongText says that a text is not of a kind; reflect and pflag name the kinds.
func wrongText(text, kind string, err error) error {
	switch {
	case kind == "duration":
		if _, err := strconv.ParseFloat(text, 64); err == nil {
			return fmt.Errorf("%q has no unit: give for example 90s, 15m or 1h", text)
		}
		return fmt.Errorf("%q is not a duration: give for example 90s, 15m or 1h", text)
	case kind == "bool":
		return fmt.Errorf("%q is neither true nor false", text)
	case errors.Is(err, strconv.ErrRange):
		return fmt.Errorf("%q is too large", text)
	case kind == "int":
		return fmt.Errorf("%q is not a whole number", text)
	}
	return fmt.Errorf("%q is not a number", text)
}

// FlagProblem rewrites an error of a flag set in our words, where its own speak of Go.
func FlagProblem(err error) error {
	wrong, ok := errors.AsType[*pflag.InvalidValueError](err)
	if !ok {
		return err
	}
	flag := wrong.GetFlag()
	return Problem{Setting: "--" + flag.Name, Text: wrongText(wrong.GetValue(), flag.Value.Type(), wrong.Unwrap()).Error()}
}
