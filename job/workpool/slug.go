package workpool

import (
	"html"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/gosimple/unidecode"
	"golang.org/x/text/unicode/norm"
)

// Names that people choose become names that Kubernetes takes, as the worker makes them
// (prefect3 §3.8): by python-slugify, in ASCII.
//
//nolint:gochecknoglobals // compiled once, never changed
var (
	quotes      = regexp.MustCompile(`'+`)
	namedEntity = regexp.MustCompile(`&[A-Za-z]+[0-9]*;`)
	decimal     = regexp.MustCompile(`&#([0-9]+);`)
	hexadecimal = regexp.MustCompile(`&#x([0-9a-fA-F]+);`)
	thousands   = regexp.MustCompile(`([0-9]),([0-9])`)

	notInName   = regexp.MustCompile(`[^a-zA-Z0-9-]+`)
	notInValue  = regexp.MustCompile(`[^a-zA-Z0-9-_.]+`)
	notInDomain = regexp.MustCompile(`[^a-zA-Z0-9-.]+`)
)

const (
	maxName   = 45
	maxLabel  = 63
	maxDomain = 253
	// maxSlugged is how much of a text is looked at: much more than is left of it.
	maxSlugged = 4096
)

// nameSlug is a text as the beginning of a Job's name; empty if nothing is left of it.
func nameSlug(text string) string { return slug(strings.ToLower(ascii(text)), notInName, maxName) }

// valueSlug is a text as the value of a label; empty if nothing is left of it.
func valueSlug(text string) string {
	if isSlug(text, maxLabel, "_.") {
		return text
	}
	return strings.Trim(slug(ascii(text), notInValue, maxLabel), "_-.")
}

// keySlug is a text as the name of a label or an annotation; empty if nothing is left of it.
func keySlug(text string) string {
	prefix, name, ok := strings.Cut(text, "/")
	if !ok {
		return valueSlug(text)
	}
	if !isSlug(prefix, maxDomain, ".") {
		prefix = strings.Trim(slug(ascii(prefix), notInDomain, maxDomain), "_-.")
	}
	name = valueSlug(name)
	if prefix == "" || name == "" {
		return name
	}
	return prefix + "/" + name
}

// isSlug reports whether a text is its own slug, as most are, where letters, digits, dashes and
// more are allowed. To make one takes a tenth of what a whole Job costs.
func isSlug(text string, most int, more string) bool {
	if text == "" || len(text) > most || strings.Contains(text, "--") {
		return false
	}
	isAlphanumeric := func(c byte) bool { return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' }
	for i := range len(text) {
		if c := text[i]; !isAlphanumeric(c) && c != '-' && strings.IndexByte(more, c) < 0 {
			return false
		}
	}
	return isAlphanumeric(text[0]) && isAlphanumeric(text[len(text)-1])
}

func slug(text string, not *regexp.Regexp, most int) string {
	text = strings.ReplaceAll(text, "'", "")
	for before := ""; before != text && strings.Contains(text, ","); { // a digit may stand between two commas
		before, text = text, thousands.ReplaceAllString(text, "$1$2")
	}
	text = not.ReplaceAllString(text, "-")
	for strings.Contains(text, "--") {
		text = strings.ReplaceAll(text, "--", "-")
	}
	text = strings.Trim(text, "-")
	if len(text) > most {
		text = strings.Trim(text[:most], "-")
	}
	return text
}

// ascii spells a text in ASCII, with HTML's entities as what they stand for.
func ascii(text string) string {
	if len(text) > maxSlugged {
		text = strings.ToValidUTF8(text[:maxSlugged], "")
	}
	if isPlain(text) {
		return text
	}
	text = quotes.ReplaceAllString(text, "-")
	var b strings.Builder
	for _, r := range norm.NFKD.String(text) {
		b.WriteString(letters(r))
	}
	text = namedEntity.ReplaceAllStringFunc(b.String(), html.UnescapeString)
	text = decimal.ReplaceAllStringFunc(text, func(e string) string { return numbered(e, e[2:len(e)-1], 10) })
	text = hexadecimal.ReplaceAllStringFunc(text, func(e string) string { return numbered(e, e[3:len(e)-1], 16) })
	return norm.NFKD.String(text)
}

// isPlain reports whether a text is printable ASCII without quotes and entities, as nearly all
// are. It is in ASCII already.
func isPlain(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' || r == '\'' || r == '&' })
}

// numbered is the character of an entity; the entity itself if there is none.
func numbered(entity, digits string, base int) string {
	n, err := strconv.ParseInt(digits, base, 32)
	if err != nil || n > utf8.MaxRune {
		return entity
	}
	return string(rune(n))
}

// letters are ASCII for a character. Where our table differs from the worker's, the
// worker's counts.
func letters(r rune) string {
	switch r {
	case 'Є':
		return "E"
	case 'ẜ', 'ẝ':
		return "s"
	case 'ẟ':
		return "d"
	case '€':
		return "EUR"
	case 'Ⅎ':
		return ""
	case 'し', 'シ':
		return "si"
	case 'ち', 'チ':
		return "ti"
	case 'っ', 'つ', 'ッ', 'ツ':
		return "tu"
	case '一':
		return "Yi "
	}
	switch {
	case r > 0xffff:
		return ""
	case unicode.Is(unlisted, r):
		return "[?]"
	}
	return unidecode.Unidecode(string(r))
}

// unlisted is what the worker's table does not know, and ours leaves out.
var unlisted = &unicode.RangeTable{R16: []unicode.Range16{ //nolint:gochecknoglobals // a table, never changed
	{Lo: 0x02ff, Hi: 0x04ff, Stride: 0x100},
	{Lo: 0x05c0, Hi: 0x05ff, Stride: 0x3f},
	{Lo: 0x06ff, Hi: 0x06ff, Stride: 1},
	{Lo: 0x07ff, Hi: 0x08ff, Stride: 1},
	{Lo: 0x09ff, Hi: 0x11ff, Stride: 0x100},
	{Lo: 0x13ff, Hi: 0x13ff, Stride: 1},
	{Lo: 0x16ff, Hi: 0x17ff, Stride: 0x100},
	{Lo: 0x18ff, Hi: 0x1dff, Stride: 1},
	{Lo: 0x1eff, Hi: 0x1fff, Stride: 1},
	{Lo: 0x20ff, Hi: 0x20ff, Stride: 1},
	{Lo: 0x214e, Hi: 0x214e, Stride: 1},
	{Lo: 0x21ff, Hi: 0x23ff, Stride: 1},
	{Lo: 0x24ff, Hi: 0x27ff, Stride: 0x100},
	{Lo: 0x2900, Hi: 0x2fff, Stride: 1},
	{Lo: 0x31ff, Hi: 0x31ff, Stride: 1},
	{Lo: 0x3400, Hi: 0x4dff, Stride: 1},
	{Lo: 0x9fff, Hi: 0x9fff, Stride: 1},
	{Lo: 0xa4ff, Hi: 0xfaff, Stride: 1},
	{Lo: 0xfdff, Hi: 0xfdff, Stride: 1},
}}
