package install

import (
	"regexp"
	"strings"
)

// unknown stands in a word for a value that only a running shell or pod knows.
const unknown = "\x00"

var shellName = regexp.MustCompile(`^\w*`)

// words splits a shell script into its commands and their words. It understands the part
// of the language that agents' manifests use: quotes, backslashes, variables of the block
// and comments. Anything else becomes unknown.
func words(script string, lookup func(string) (string, bool)) [][]string {
	s := shell{rest: script, lookup: lookup}
	for s.rest != "" {
		s.step()
	}
	s.endCommand()
	return s.commands
}

type shell struct {
	rest    string
	lookup  func(string) (string, bool)
	word    strings.Builder
	started bool
	// redirected is true when the next word is a file name of a redirection.
	redirected bool
	command    []string
	commands   [][]string
}

func (s *shell) endWord() {
	if s.started && !s.redirected {
		s.command = append(s.command, s.word.String())
	}
	s.redirected = s.redirected && !s.started
	s.word.Reset()
	s.started = false
}

func (s *shell) endCommand() {
	s.endWord()
	s.redirected = false
	if len(s.command) > 0 {
		s.commands = append(s.commands, s.command)
	}
	s.command = nil
}

func (s *shell) put(text string) {
	s.word.WriteString(text)
	s.started = true
}

func (s *shell) take(n int) string {
	text := s.rest[:min(n, len(s.rest))]
	s.rest = s.rest[len(text):]
	return text
}

func (s *shell) step() {
	switch c := s.take(1); c {
	case " ", "\t", "\r":
		s.endWord()
	case "\n", ";", "&", "|", "(", ")":
		s.endCommand()
	case "<", ">":
		if strings.Trim(s.word.String(), "0123456789") == "" {
			s.word.Reset()
			s.started = false
		}
		s.endWord()
		s.rest = strings.TrimLeft(s.rest, "<>&| \t")
		s.redirected = true
	case "#":
		if s.started {
			s.put(c)
			return
		}
		_, s.rest, _ = strings.Cut(s.rest, "\n")
		s.endCommand()
	case `\`:
		if next := s.take(1); next != "\n" {
			s.put(next)
		}
	case "'":
		var quoted string
		quoted, s.rest, _ = strings.Cut(s.rest, "'")
		s.put(quoted)
	case `"`:
		s.quoted()
	case "$":
		s.expand(false)
	case "`":
		_, s.rest, _ = strings.Cut(s.rest, "`")
		s.put(unknown)
	default:
		s.put(c)
	}
}

func (s *shell) quoted() {
	s.put("")
	for s.rest != "" {
		switch c := s.take(1); c {
		case `"`:
			return
		case `\`:
			switch next := s.take(1); {
			case next == "\n":
			case strings.Contains("$`\"\\", next):
				s.put(next)
			default:
				s.put(c + next)
			}
		case "$":
			s.expand(true)
		case "`":
			_, s.rest, _ = strings.Cut(s.rest, "`")
			s.put(unknown)
		default:
			s.put(c)
		}
	}
}

// expand puts a variable's value. Outside of quotes, white space in the value ends words.
func (s *shell) expand(quoted bool) {
	var name string
	switch {
	case strings.HasPrefix(s.rest, "{"):
		name, s.rest, _ = strings.Cut(s.rest[1:], "}")
	case strings.HasPrefix(s.rest, "("):
		_, s.rest, _ = strings.Cut(s.rest, ")")
		s.put(unknown)
		return
	default:
		name = s.take(len(shellName.FindString(s.rest)))
	}
	if name == "" {
		s.put("$")
		return
	}
	value, known := s.lookup(name)
	switch {
	case !known:
		s.put(unknown)
	case quoted:
		s.put(value)
	default:
		for i, field := range strings.Fields(value) {
			if i > 0 {
				s.endWord()
			}
			s.put(field)
		}
	}
}
