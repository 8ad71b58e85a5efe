package service

import (
	"encoding/json"
	"net/http"
	"path"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// openapi answers with the document, made of the routes and of the Go types
// that the handlers decode and encode.
func (s *Server) openapi(w http.ResponseWriter, _ *http.Request, _ caller) error {
	writeJSON(w, http.StatusOK, OpenAPI(s.routes))
	return nil
}

// OpenAPI makes the OpenAPI 3.1 document of routes.
func OpenAPI(routes []route) map[string]any {
	d := &document{schemas: map[string]any{}}
	paths := map[string]map[string]any{}
	for _, rt := range routes {
		if paths[rt.path] == nil {
			paths[rt.path] = map[string]any{}
		}
		paths[rt.path][strings.ToLower(rt.method)] = d.operation(rt)
	}
	d.schemas["Error"] = map[string]any{"type": "object", "properties": map[string]any{"error": d.schema(reflect.TypeFor[Error]())}}
	return map[string]any{
		"openapi": "3.1.0",
		"info":    map[string]any{"title": "Portcullis policy service", "version": "1", "description": "Everything that can be done with Portcullis."},
		"paths":   paths,
		"components": map[string]any{
			"schemas": d.schemas,
			"securitySchemes": map[string]any{
				"apiKey":    map[string]any{"type": "http", "scheme": "bearer", "description": "API key (pk_…)"},
				"nodeToken": map[string]any{"type": "http", "scheme": "bearer", "description": "token of a node (pt_…)"},
			},
		},
	}
}

type document struct{ schemas map[string]any }

func (d *document) operation(rt route) map[string]any {
	status := rt.status
	if status == 0 {
		status = http.StatusOK
	}
	failure := map[string]any{"description": "what is wrong, naming the field", "content": jsonContent(map[string]any{"$ref": "#/components/schemas/Error"})}
	op := map[string]any{
		"summary":     rt.summary,
		"operationId": operationID(rt),
		"responses": map[string]any{
			strconv.Itoa(status): map[string]any{"description": "done", "content": jsonContent(d.schema(reflect.TypeOf(rt.reply)))},
			"4XX":                failure,
			"5XX":                failure,
		},
	}
	switch rt.access {
	case tokenOnly:
		op["security"] = []any{map[string]any{"nodeToken": []string{}}}
	case keyOnly:
		op["security"] = []any{map[string]any{"apiKey": []string{}}}
		if rt.permission != "" {
			op["description"] = "Needs permission " + string(rt.permission) + "."
		}
	}
	if rt.body != nil {
		op["requestBody"] = map[string]any{"required": true, "content": jsonContent(d.schema(reflect.TypeOf(rt.body)))}
	}
	if len(rt.params) > 0 {
		var params []any
		for _, p := range rt.params {
			params = append(params, map[string]any{"name": p.name, "in": p.in, "required": p.in == "path", "description": p.about, "schema": map[string]any{"type": "string"}})
		}
		op["parameters"] = params
	}
	return op
}

func operationID(rt route) string {
	return strings.ToLower(rt.method) + strings.NewReplacer("/v1/", "_", "/", "_", "{", "", "}", "", ".", "_", "-", "_").Replace(rt.path)
}

func jsonContent(schema any) map[string]any {
	return map[string]any{"application/json": map[string]any{"schema": schema}}
}

// schema describes a Go type as encoding/json writes it.
func (d *document) schema(t reflect.Type) map[string]any {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return map[string]any{"type": "string", "format": "date-time"}
	case t == reflect.TypeFor[json.RawMessage]():
		return map[string]any{}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return d.schema(t.Elem())
	case reflect.String:
		return map[string]any{"type": "string"}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Int, reflect.Int32, reflect.Int64, reflect.Uint32, reflect.Uint64:
		return map[string]any{"type": "integer"}
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return map[string]any{"type": "string", "contentEncoding": "base64"}
		}
		return map[string]any{"type": "array", "items": d.schema(t.Elem())}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": d.schema(t.Elem())}
	case reflect.Struct:
		return d.reference(t)
	}
	return map[string]any{}
}

func (d *document) reference(t reflect.Type) map[string]any {
	name := strings.ToUpper(t.Name()[:1]) + t.Name()[1:]
	switch pkg := path.Base(t.PkgPath()); pkg {
	case "service":
	case "policy":
		name = "Model" + name
	default:
		name = strings.ToUpper(pkg[:1]) + pkg[1:] + name
	}
	ref := map[string]any{"$ref": "#/components/schemas/" + name}
	if _, known := d.schemas[name]; known {
		return ref
	}
	properties := map[string]any{}
	d.schemas[name] = map[string]any{"type": "object", "additionalProperties": false, "properties": properties}
	d.fields(t, properties)
	return ref
}

func (d *document) fields(t reflect.Type, properties map[string]any) {
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous && f.Tag.Get("json") == "" {
			d.fields(f.Type, properties)
			continue
		}
		if n := tagName(f); n != "" {
			properties[n] = d.schema(f.Type)
		}
	}
}
