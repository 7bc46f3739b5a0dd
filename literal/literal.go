// Package literal reads the form in which the agent's settings are written: those of
// Python's literals that occur, JSON's words beside Python's, and lists as people write
// them. The agent read Python only and took {"A": true} for a text (prefect1 §5.1).
package literal

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Dict is a Python dict or JSON object in its own order.
type Dict []Entry

// Entry is a key of a Dict with its value.
type Entry struct{ Key, Value any }

// Word is an unquoted literal: a number, True, true, None, null.
type Word string

// IsNone reports whether the word is Python's None or JSON's null.
func (w Word) IsNone() bool { return w == "None" || w == "null" }

// reader goes through a text.
type reader struct {
	text  string
	at    int
	depth int
}

// maxDepth is far more than any setting needs and far less than the stack holds.
const maxDepth = 16

// Parse returns a string, a Word, a []any or a Dict.
func Parse(text string) (any, error) {
	if !utf8.ValidString(text) {
		return nil, fmt.Errorf("is not UTF-8 text")
	}
	p := &reader{text: text}
	v, err := p.value()
	if err != nil {
		return nil, err
	}
	if p.space(); p.at < len(p.text) {
		return nil, p.fail("does not belong there")
	}
	return v, nil
}

// fail names the place but does not quote the text, which may hold secrets.
func (p *reader) fail(what string) error {
	return fmt.Errorf("cannot be read: character %d %s", utf8.RuneCountInString(p.text[:p.at])+1, what)
}

func (p *reader) space() {
	for p.at < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.at]) >= 0 {
		p.at++
	}
}

func (p *reader) take(c byte) bool {
	if p.space(); p.at < len(p.text) && p.text[p.at] == c {
		p.at++
		return true
	}
	return false
}

func (p *reader) value() (any, error) {
	p.space()
	if p.at == len(p.text) {
		return nil, p.fail("is missing: the text ends too early")
	}
	switch c := p.text[p.at]; c {
	case '[':
		return p.list(']')
	case '(':
		return p.list(')')
	case '{':
		return p.dict()
	case '\'', '"':
		return p.quoted()
	default:
		return p.word()
	}
}

func (p *reader) enter() error {
	if p.depth++; p.depth > maxDepth {
		return p.fail("is nested too deeply")
	}
	p.at++
	return nil
}

func (p *reader) list(end byte) (any, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	items := []any{}
	for !p.take(end) {
		v, err := p.value()
		if err != nil {
			return nil, err
		}
		items = append(items, v)
		if !p.take(',') {
			if p.take(end) {
				break
			}
			return nil, p.fail("should be a comma or " + string(end))
		}
	}
	p.depth--
	return items, nil
}

func (p *reader) dict() (any, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	d := Dict{}
	for !p.take('}') {
		k, err := p.value()
		if err != nil {
			return nil, err
		}
		if !p.take(':') {
			return nil, p.fail("should be a colon")
		}
		v, err := p.value()
		if err != nil {
			return nil, err
		}
		d = append(d, Entry{k, v})
		if !p.take(',') {
			if p.take('}') {
				break
			}
			return nil, p.fail("should be a comma or }")
		}
	}
	p.depth--
	return d, nil
}

// word reads a number, or one of the words that Python and JSON have for true, false and
// nothing.
func (p *reader) word() (any, error) {
	rest := p.text[p.at:]
	n := strings.IndexAny(rest, " \t\r\n,:]})")
	if n < 0 {
		n = len(rest)
	}
	w := Word(rest[:n])
	switch w {
	case "True", "False", "None", "true", "false", "null":
	default:
		if _, err := strconv.ParseFloat(string(w), 64); err != nil || strings.ContainsAny(string(w), "xXpPnN_") {
			return nil, p.fail("begins something other than a text, number, list or dict: put texts in quotes")
		}
	}
	p.at += n
	return w, nil
}

func (p *reader) quoted() (any, error) {
	start, mark := p.at, p.text[p.at]
	p.at++
	var out strings.Builder
	for p.at < len(p.text) {
		c := p.text[p.at]
		switch c {
		case mark:
			p.at++
			return out.String(), nil
		case '\\':
			if err := p.escape(&out); err != nil {
				return nil, err
			}
		default:
			out.WriteByte(c)
			p.at++
		}
	}
	p.at = start
	return nil, p.fail("opens a quote that is never closed")
}

// escape reads the escapes that Python and JSON share, and Python's own. Like Python, it
// leaves an unknown escape as it stands, with its backslash.
func (p *reader) escape(out *strings.Builder) error {
	rest := p.text[p.at:]
	if len(rest) < 2 {
		return p.fail("ends the text with a backslash")
	}
	simple := map[byte]string{
		'\\': `\`, '\'': `'`, '"': `"`, '/': `/`, 'a': "\a", 'b': "\b", 'f': "\f", 'n': "\n", 'r': "\r", 't': "\t", 'v': "\v", '\n': "",
	}
	if s, ok := simple[rest[1]]; ok {
		out.WriteString(s)
		p.at += 2
		return nil
	}
	digits := map[byte]int{'x': 2, 'u': 4, 'U': 8}[rest[1]]
	if digits == 0 {
		out.WriteString(rest[:1])
		p.at++
		return nil
	}
	if len(rest) < 2+digits {
		return p.fail("begins an escape that is cut short")
	}
	code, err := strconv.ParseUint(rest[2:2+digits], 16, 32)
	if err != nil || code > utf8.MaxRune || code >= 0xd800 && code < 0xe000 {
		return p.fail("begins an escape that is no character")
	}
	out.WriteRune(rune(code))
	p.at += 2 + digits
	return nil
}
