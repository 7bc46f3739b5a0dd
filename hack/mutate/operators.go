package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// mutant is a breakage: bytes of a file and their replacement.
type mutant struct {
	file     string
	line     int
	change   string
	from, to int
	text     string
	// pkg's tests must notice; for a guard, this one.
	pkg, test string
}

func (m mutant) String() string { return fmt.Sprintf("%s:%d: %s", m.file, m.line, m.change) }

func (m mutant) apply(src []byte) []byte {
	return slices.Concat(src[:m.from], []byte(m.text), src[m.to:])
}

// mutantsOf are all mutants of a package's own code.
func mutantsOf(pkg string) ([]mutant, error) {
	files, err := filepath.Glob(filepath.Join(pkg, "*.go"))
	if err != nil {
		return nil, fmt.Errorf("list the files of %s: %w", pkg, err)
	}
	var all []mutant
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") || strings.HasSuffix(file, "generated.go") {
			continue
		}
		src, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", file, err)
		}
		found, err := mutantsIn(file, src)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

// surgeon finds mutants in one file.
type surgeon struct {
	fset  *token.FileSet
	file  string
	src   []byte
	found []mutant
	// moments are the variables of the function that were set to time.Now().
	moments map[string]token.Pos
	// talk matches a statement that only logs.
	talk *regexp.Regexp
}

func mutantsIn(file string, src []byte) ([]mutant, error) {
	s := &surgeon{fset: token.NewFileSet(), file: file, src: src, moments: map[string]token.Pos{}, talk: regexp.MustCompile(`(?i)\blog\.(Debug|Info|Warn|Error)(Context)?\(`)}
	tree, err := parser.ParseFile(s.fset, file, src, parser.SkipObjectResolution)
	if err != nil {
		return nil, fmt.Errorf("parse: %w", err)
	}
	for _, d := range tree.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Body != nil {
			clear(s.moments)
			ast.Inspect(f.Body, s.visit)
		}
	}
	slices.SortStableFunc(s.found, func(a, b mutant) int { return a.from - b.from })
	return s.found, nil
}

func (s *surgeon) visit(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.IfStmt:
		s.condition(n.Cond)
	case *ast.SwitchStmt:
		if n.Tag == nil {
			for _, c := range n.Body.List {
				for _, e := range c.(*ast.CaseClause).List {
					s.condition(e)
				}
			}
		}
	case *ast.BinaryExpr:
		s.binary(n)
	case *ast.CallExpr:
		s.call(n)
	case *ast.BlockStmt:
		s.statements(n.List)
	case *ast.CaseClause:
		s.statements(n.Body)
	case *ast.CommClause:
		s.statements(n.Body)
	case *ast.Ident:
		if set, ok := s.moments[n.Name]; ok && n.Pos() > set {
			s.add(n, n.Name+".Add(time.Since("+n.Name+"))", n.Name+" is now, not then")
		}
	}
	return true
}

func (s *surgeon) at(p token.Pos) int     { return s.fset.Position(p).Offset }
func (s *surgeon) code(n ast.Node) string { return string(s.src[s.at(n.Pos()):s.at(n.End())]) }

func (s *surgeon) add(n ast.Node, text, change string) {
	s.found = append(s.found, mutant{
		file: s.file, pkg: filepath.Dir(s.file), line: s.fset.Position(n.Pos()).Line, change: change,
		from: s.at(n.Pos()), to: s.at(n.End()), text: text,
	})
}

// condition forces a condition. Its variables stay in use, so that it compiles.
func (s *surgeon) condition(e ast.Expr) {
	text := s.code(e)
	s.add(e, "("+text+") || true", "always: "+short(text))
	s.add(e, "("+text+") && false", "never: "+short(text))
}

func (s *surgeon) binary(b *ast.BinaryExpr) {
	x, y := s.code(b.X), s.code(b.Y)
	if b.Op == token.LAND || b.Op == token.LOR {
		s.add(b, x, "without "+short(b.Op.String()+" "+y))
		s.add(b, y, "without "+short(x+" "+b.Op.String()))
	}
	// Forcing covers both outcomes, so only the edge of a comparison remains to be tested.
	others := map[token.Token]string{token.EQL: "!=", token.NEQ: "==", token.LSS: "<=", token.LEQ: "<", token.GTR: ">=", token.GEQ: ">"}
	if op := others[b.Op]; op != "" {
		s.add(b, x+" "+op+" "+y, op+" in "+short(s.code(b)))
	}
}

// call removes bounds: an argument of min or max, or a deadline.
func (s *surgeon) call(c *ast.CallExpr) {
	name := s.code(c.Fun)
	switch {
	case (name == "min" || name == "max") && len(c.Args) > 1:
		for _, a := range c.Args {
			s.add(c, s.code(a), short(s.code(c))+" is only "+short(s.code(a)))
		}
	case name == "context.WithTimeout" && len(c.Args) == 2:
		s.add(c.Args[1], "1000*("+s.code(c.Args[1])+")", "no timeout of "+s.code(c.Args[1]))
	case name == "context.WithDeadline" && len(c.Args) == 2:
		s.add(c.Args[1], "("+s.code(c.Args[1])+").AddDate(1, 0, 0)", "no deadline "+short(s.code(c.Args[1])))
	}
}

// statements leaves out one statement at a time, but no declarations and no returns.
func (s *surgeon) statements(list []ast.Stmt) {
	for _, n := range list {
		text := s.code(n)
		switch n := n.(type) {
		case *ast.AssignStmt:
			if n.Tok == token.DEFINE {
				s.remember(n)
				continue
			}
		case *ast.ExprStmt, *ast.IncDecStmt, *ast.SendStmt, *ast.GoStmt:
			if s.talk.MatchString(text) {
				continue
			}
		case *ast.DeferStmt, *ast.BranchStmt:
		default:
			continue
		}
		s.add(n, "if false {\n"+text+"\n}", "left out: "+short(text))
	}
}

func (s *surgeon) remember(n *ast.AssignStmt) {
	for i, v := range n.Lhs {
		if len(n.Lhs) == len(n.Rhs) && s.code(n.Rhs[i]) == "time.Now()" {
			s.moments[s.code(v)] = n.End()
		}
	}
}

func short(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > 90 {
		return string(runes[:90]) + "…"
	}
	return text
}
