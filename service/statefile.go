package service

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// StateFile is a state as written in YAML, with the places of its fields.
type StateFile struct {
	State State
	name  string
	file  *ast.File
}

// ReadStateFile reads a state file and the password files that it names,
// which are relative to its folder. Errors name file, line and field.
func ReadStateFile(path string) (*StateFile, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read state file: %w", err)
	}
	f, err := ParseState(path, raw)
	if err != nil {
		return nil, err
	}
	return f, f.readPasswords(filepath.Dir(path))
}

// ParseState reads YAML strictly: no unknown or repeated fields, one document.
func ParseState(name string, raw []byte) (*StateFile, error) {
	f := &StateFile{name: name}
	file, err := parser.ParseBytes(raw, 0)
	if err != nil {
		return nil, f.yamlError(err)
	}
	f.file = file
	dec := yaml.NewDecoder(bytes.NewReader(raw), yaml.Strict(), yaml.CustomUnmarshaler(readTime))
	if err := dec.Decode(&f.State); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%s: the state is empty", name)
		}
		return nil, f.yamlError(err)
	}
	var more any
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: more than one YAML document", name)
	}
	return f, nil
}

// readTime reads a time strictly: the decoder takes what it cannot read for
// the year 1, at which everything has expired.
func readTime(t *time.Time, raw []byte) error {
	var text string
	if err := yaml.Unmarshal(raw, &text); err != nil {
		return err
	}
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if read, err := time.Parse(layout, text); err == nil {
			*t = read
			return nil
		}
	}
	return &timeError{text}
}

// timeError is a text that is no time; the decoder does not tell where it stands.
type timeError struct{ text string }

func (e *timeError) Error() string {
	return fmt.Sprintf("%q is no time: write it as 2030-01-31T12:00:00Z, or 2030-01-31 for its beginning in UTC", e.text)
}

// timeFinder finds the first field of a time that holds the text.
type timeFinder struct {
	text string
	node ast.Node
}

func (f *timeFinder) Visit(n ast.Node) ast.Visitor {
	if _, scalar := n.(ast.ScalarNode); scalar && f.node == nil && strings.HasSuffix(n.GetPath(), ".expires") && n.GetToken().Value == f.text {
		f.node = n
	}
	return f
}

// yamlError says where, in one line.
func (f *StateFile) yamlError(err error) error {
	var e yaml.Error
	var te *timeError
	if errors.As(err, &te) && f.file != nil {
		finder := &timeFinder{text: te.text}
		for _, doc := range f.file.Docs {
			ast.Walk(finder, doc.Body)
		}
		if n := finder.node; n != nil {
			pos := n.GetToken().Position
			return fmt.Errorf("%s:%d:%d: %s: %w", f.name, pos.Line, pos.Column, strings.TrimPrefix(n.GetPath(), "$."), te)
		}
	}
	if !errors.As(err, &e) {
		return fmt.Errorf("%s: %w", f.name, err)
	}
	t := e.GetToken()
	if t == nil || t.Position == nil {
		return fmt.Errorf("%s: %s", f.name, e.GetMessage())
	}
	field := f.pathOf(t)
	if field != "" {
		field += ": "
	}
	message := e.GetMessage()
	var unknown *yaml.UnknownFieldError
	if names := fieldsBeside(reflect.TypeFor[State](), f.pathOf(t)); errors.As(err, &unknown) && len(names) > 0 {
		message += ", known are " + strings.Join(names, ", ")
	}
	return fmt.Errorf("%s:%d:%d: %s%s", f.name, t.Position.Line, t.Position.Column, field, message)
}

// fieldsBeside are those that stand beside the last one of a path.
func fieldsBeside(t reflect.Type, path string) []string {
	parts := strings.Split(path, ".")
	for _, part := range parts[:len(parts)-1] {
		name, _, _ := strings.Cut(part, "[")
		for t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		if t.Kind() != reflect.Struct {
			return nil
		}
		var ok bool
		if t, ok = fieldType(t, name); !ok {
			return nil
		}
		for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
			t = t.Elem()
		}
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	return fieldNames(t)
}

// pathOf is the path of the node that a token begins.
func (f *StateFile) pathOf(t *token.Token) string {
	if f.file == nil {
		return ""
	}
	finder := &pathFinder{offset: t.Position.Offset}
	for _, doc := range f.file.Docs {
		if doc.Body != nil {
			ast.Walk(finder, doc.Body)
		}
	}
	return strings.TrimPrefix(finder.path, "$.")
}

type pathFinder struct {
	offset int
	path   string
}

func (p *pathFinder) Visit(n ast.Node) ast.Visitor {
	if t := n.GetToken(); t != nil && t.Position != nil && t.Position.Offset == p.offset && n.GetPath() != "" {
		p.path = n.GetPath()
	}
	return p
}

// Locate puts file and line before an error that names a field.
func (f *StateFile) Locate(err error) error {
	var e *Error
	if f.file == nil || !errors.As(err, &e) || e.Field == "" {
		return err
	}
	for field := e.Field; field != ""; field = parentField(field) {
		path, perr := yaml.PathString("$." + field)
		if perr != nil {
			continue
		}
		n, perr := path.FilterFile(f.file)
		if perr != nil || n == nil || n.GetToken() == nil {
			continue
		}
		pos := n.GetToken().Position
		return fmt.Errorf("%s:%d:%d: %w", f.name, pos.Line, pos.Column, err)
	}
	return fmt.Errorf("%s: %w", f.name, err)
}

// parentField drops the last part of a path.
func parentField(field string) string {
	i := strings.LastIndexAny(field, ".[")
	if i < 0 {
		return ""
	}
	return field[:i]
}

// readPasswords replaces password_file by password.
func (f *StateFile) readPasswords(dir string) error {
	if f.State.Sources != nil {
		for i := range *f.State.Sources {
			s := &(*f.State.Sources)[i]
			if err := readPassword(dir, &s.PasswordFile, &s.Password); err != nil {
				return f.Locate(invalid(fmt.Sprintf("sources[%d].password_file", i), "%v", err))
			}
		}
	}
	if f.State.Accounts != nil {
		for i := range *f.State.Accounts {
			a := &(*f.State.Accounts)[i]
			if err := readPassword(dir, &a.PasswordFile, &a.Password); err != nil {
				return f.Locate(invalid(fmt.Sprintf("sql_accounts[%d].password_file", i), "%v", err))
			}
		}
	}
	return f.readConnectionFiles(dir)
}

// readConnectionFiles replaces the files that connections name by what they hold.
func (f *StateFile) readConnectionFiles(dir string) error {
	if f.State.Connections == nil {
		return nil
	}
	for i := range *f.State.Connections {
		c := &(*f.State.Connections)[i]
		if err := readPassword(dir, &c.PasswordFile, &c.Password); err != nil {
			return f.Locate(invalid(indexed("connections", i)+".password_file", "%v", err))
		}
		var ca *string
		if c.CA != "" {
			ca = &c.CA
		}
		if err := readPassword(dir, &c.CAFile, &ca); err != nil {
			return f.Locate(invalid(indexed("connections", i)+".ca_file", "%v", err))
		}
		if ca != nil {
			c.CA = *ca
		}
		if c.Setup == nil {
			continue
		}
		if err := readPassword(dir, &c.Setup.PasswordFile, &c.Setup.Password); err != nil {
			return f.Locate(invalid(indexed("connections", i)+".setup.password_file", "%v", err))
		}
	}
	return nil
}

func readPassword(dir string, file *string, password **string) error {
	if *file == "" {
		return nil
	}
	if *password != nil {
		return errors.New("state either the value or a file that holds it")
	}
	path := *file
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	text := strings.TrimRight(string(raw), "\r\n")
	if text == "" {
		return fmt.Errorf("%s is empty", path)
	}
	*password, *file = &text, ""
	return nil
}
