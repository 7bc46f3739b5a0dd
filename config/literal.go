package config

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// dict is a Python dict or JSON object in its own order.
type dict []entry

type entry struct{ key, value any }

// word is an unquoted literal: a number, True, true, None, null.
type word string

func (w word) isNone() bool { return w == "None" || w == "null" }

// literal reads the part of Python's literals that settings are written in,
// with JSON's words beside Python's. The agent read Python only and took
// {"A": true} for a text (prefect1-spec §5.1).
type literal struct {
	text  string
	at    int
	depth int
}

// maxDepth is far more than any setting needs and far less than the stack holds.
const maxDepth = 16

// parseLiteral returns a string, a word, a []any or a dict.
func parseLiteral(text string) (any, error) {
	if !utf8.ValidString(text) {
		return nil, fmt.Errorf("is not UTF-8 text")
	}
	p := &literal{text: text}
	v, err := p.value()
	if err != nil {
		return nil, err
	}
	if p.space(); p.at < len(p.text) {
		return nil, p.fail("does not belong there")
	}
	return v, nil
}

// fail says where, not what: the text may hold secrets.
func (p *literal) fail(what string) error {
	return fmt.Errorf("cannot be read: character %d %s", utf8.RuneCountInString(p.text[:p.at])+1, what)
}

func (p *literal) space() {
	for p.at < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.at]) >= 0 {
		p.at++
	}
}

func (p *literal) take(c byte) bool {
	if p.space(); p.at < len(p.text) && p.text[p.at] == c {
		p.at++
		return true
	}
	return false
}

func (p *literal) value() (any, error) {
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

func (p *literal) enter() error {
	if p.depth++; p.depth > maxDepth {
		return p.fail("is nested too deeply")
	}
	p.at++
	return nil
}

func (p *literal) list(end byte) (any, error) {
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

func (p *literal) dict() (any, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	d := dict{}
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
		d = append(d, entry{k, v})
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

// word is a number or one of the names both languages have for the rest.
func (p *literal) word() (any, error) {
	rest := p.text[p.at:]
	n := strings.IndexAny(rest, " \t\r\n,:]})")
	if n < 0 {
		n = len(rest)
	}
	w := word(rest[:n])
	switch w {
	case "True", "False", "None", "true", "false", "null":
	default:
		if _, err := strconv.ParseFloat(string(w), 64); err != nil || strings.ContainsAny(string(w), "xXpPnN_") {
			return nil, p.fail("begins something that is no text, number, list or dict: put texts in quotes")
		}
	}
	p.at += n
	return w, nil
}

func (p *literal) quoted() (any, error) {
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

// escape reads the escapes Python and JSON share, and Python's own. What Python
// does not know it leaves as it stands, backslash and all; so do we.
func (p *literal) escape(out *strings.Builder) error {
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

// quote writes a text so that parseLiteral reads it back.
func quote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`, "\n", `\n`, "\r", `\r`).Replace(s) + "'"
}
