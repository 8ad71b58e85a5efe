package service

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strconv"
	"strings"
)

// maxBody bounds the body of every request but audit records, bytes.
const maxBody = 4 << 20

// decode reads a JSON body strictly: one value, no unknown or repeated
// fields, right types. Errors name the field.
func decode(w http.ResponseWriter, r *http.Request, v any) error {
	if ct := r.Header.Get("Content-Type"); ct != "" && !strings.HasPrefix(ct, "application/json") {
		return &Error{Status: http.StatusUnsupportedMediaType, Code: "media_type", Field: "Content-Type", Message: fmt.Sprintf("%q is not application/json", ct)}
	}
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return bodyError(err)
	}
	return decodeStrict(raw, v)
}

func bodyError(err error) error {
	var big *http.MaxBytesError
	if errors.As(err, &big) {
		return &Error{Status: http.StatusRequestEntityTooLarge, Code: "too_large", Field: "body", Message: fmt.Sprintf("is longer than %d bytes", big.Limit)}
	}
	return malformed("body", "could not be read: %v", err)
}

func decodeStrict(raw []byte, v any) error {
	if len(bytes.TrimSpace(raw)) == 0 {
		return malformed("body", "is empty, a JSON object is needed")
	}
	var any json.RawMessage
	if err := json.NewDecoder(bytes.NewReader(raw)).Decode(&any); err != nil {
		return decodeError(err)
	}
	if err := checkFields("", json.RawMessage(raw), reflect.TypeOf(v).Elem(), 0); err != nil {
		return err
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return decodeError(err)
	}
	return nil
}

func decodeError(err error) error {
	var te *json.UnmarshalTypeError
	var se *json.SyntaxError
	switch {
	case errors.As(err, &te):
		field := te.Field
		if field == "" {
			field = "body"
		}
		return malformed(field, "must be %s, not %s", jsonName(te.Type), te.Value)
	case errors.As(err, &se):
		return malformed("body", "is not JSON: %v at byte %d", err, se.Offset)
	}
	return malformed("body", "is not acceptable JSON: %v", err)
}

func jsonName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return jsonName(t.Elem())
	case reflect.String:
		return "a text"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int32, reflect.Int64, reflect.Uint32, reflect.Uint64:
		return "a whole number"
	case reflect.Slice:
		return "a list"
	}
	return "an object"
}

// checkFields walks the text beside the Go type and refuses unknown and
// repeated fields and wrong types, by their full path. (encoding/json alone
// takes names in any case and drops repeats.)
func checkFields(path string, raw json.RawMessage, t reflect.Type, depth int) error {
	if depth > 500 {
		return malformed(path, "is nested too deeply")
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	tok, err := dec.Token()
	if err != nil {
		return at(path, decodeError(err))
	}
	if tok == nil {
		return trailing(path, dec)
	}
	switch {
	case reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]()):
		return checkUnmarshal(path, raw, t)
	case t.Kind() == reflect.Struct || t.Kind() == reflect.Map:
		if tok != json.Delim('{') {
			return malformed(named(path), "must be an object")
		}
		return checkObject(path, raw, dec, t, depth)
	case t.Kind() == reflect.Slice && t.Elem().Kind() != reflect.Uint8:
		if tok != json.Delim('[') {
			return malformed(named(path), "must be a list")
		}
		return checkList(path, dec, t, depth)
	}
	if text, ok := tok.(string); ok && t.Kind() == reflect.String {
		if err := checkEncoding(path, text, raw); err != nil {
			return err
		}
	}
	return checkUnmarshal(path, raw, t)
}

// checkEncoding refuses a text that encoding/json changed to be able to read
// it (bytes that are not UTF-8, half a surrogate pair) and one with a NUL.
func checkEncoding(path, text string, raw []byte) error {
	const replacement = "\ufffd"
	if strings.Count(text, replacement) > bytes.Count(raw, []byte(replacement))+bytes.Count(bytes.ToLower(raw), []byte(`\ufffd`)) {
		return invalid(named(path), "is not valid UTF-8")
	}
	return checkText(named(path), text, maxBody)
}

func checkUnmarshal(path string, raw json.RawMessage, t reflect.Type) error {
	if err := json.Unmarshal(raw, reflect.New(t).Interface()); err != nil {
		return at(path, decodeError(err))
	}
	return nil
}

func checkObject(path string, text []byte, dec *json.Decoder, t reflect.Type, depth int) error {
	seen := map[string]bool{}
	for dec.More() {
		start := dec.InputOffset()
		tok, err := dec.Token()
		if err != nil {
			return at(path, decodeError(err))
		}
		name, _ := tok.(string)
		here := strings.TrimPrefix(path+"."+name, ".")
		if err := checkEncoding(here, name, text[start:dec.InputOffset()]); err != nil {
			return err
		}
		if seen[name] {
			return malformed(here, "is given twice")
		}
		seen[name] = true
		ft, ok := fieldType(t, name)
		if !ok {
			return malformed(here, "is not a known field, known are %s", strings.Join(fieldNames(t), ", "))
		}
		var sub json.RawMessage
		if err := dec.Decode(&sub); err != nil {
			return at(here, decodeError(err))
		}
		if err := checkFields(here, sub, ft, depth+1); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil {
		return at(path, decodeError(err))
	}
	return trailing(path, dec)
}

func checkList(path string, dec *json.Decoder, t reflect.Type, depth int) error {
	for i := 0; dec.More(); i++ {
		var sub json.RawMessage
		here := path + "[" + strconv.Itoa(i) + "]"
		if err := dec.Decode(&sub); err != nil {
			return at(here, decodeError(err))
		}
		if err := checkFields(here, sub, t.Elem(), depth+1); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil {
		return at(path, decodeError(err))
	}
	return trailing(path, dec)
}

// trailing refuses a second value after the first.
func trailing(path string, dec *json.Decoder) error {
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return malformed(named(path), "has more than one JSON value")
	}
	return nil
}

func named(path string) string {
	if path == "" {
		return "body"
	}
	return path
}

// at puts the path into an error that lacks one.
func at(path string, err error) error {
	var e *Error
	if path == "" || !errors.As(err, &e) {
		return err
	}
	c := *e
	c.Field = path
	return &c
}

func fieldType(t reflect.Type, name string) (reflect.Type, bool) {
	if t.Kind() == reflect.Map {
		return t.Elem(), true
	}
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous && f.Tag.Get("json") == "" {
			if ft, ok := fieldType(f.Type, name); ok {
				return ft, true
			}
			continue
		}
		if tagName(f) == name {
			return f.Type, true
		}
	}
	return nil, false
}

func fieldNames(t reflect.Type) []string {
	var names []string
	for i := range t.NumField() {
		if n := tagName(t.Field(i)); n != "" {
			names = append(names, n)
		}
	}
	return names
}

// tagName is the name of a field in JSON, "" if it has none.
func tagName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	if name == "-" {
		return ""
	}
	return name
}
