package api

import (
	"encoding"
	"reflect"
	"strings"
	"time"

	"hearth.alt/services/secret"
)

func about(o Operation) string {
	if o.Fresh {
		return "Least role: " + o.Least.String() + ". On admin.sock only: app passwords and tokens are refused (not-for-apps)."
	}
	return "Least role: " + o.Least.String() + "."
}

// Document returns the OpenAPI 3.1 description of /api/v1, made from the table.
func Document() map[string]any {
	paths := map[string]any{}
	for _, o := range Table() {
		entry, _ := paths[Prefix+o.Path].(map[string]any)
		if entry == nil {
			entry = map[string]any{}
			paths[Prefix+o.Path] = entry
		}
		operation := map[string]any{
			"operationId": strings.ReplaceAll(o.Name, " ", "."),
			"summary":     o.Summary,
			"description": about(o),
			"responses": map[string]any{
				"200":     map[string]any{"description": "done", "content": answer(o.out)},
				"default": map[string]any{"description": "refused", "content": jsonContent(schema(reflect.TypeFor[Failure]()))},
			},
		}
		var parameters []any
		properties, required := map[string]any{}, []string{}
		request := "application/json"
		for _, f := range o.Fields() {
			if f.Save {
				continue
			}
			if f.Upload {
				request = "multipart/form-data"
				continue
			}
			s := schema(f.Type)
			if f.Help != "" {
				s["description"] = f.Help
			}
			switch {
			case f.Path != "":
				parameters = append(parameters, map[string]any{"name": f.Path, "in": "path", "required": true, "schema": s})
			case o.Method != "POST":
				parameters = append(parameters, map[string]any{"name": f.Name, "in": "query", "required": !f.Optional, "schema": s})
			default:
				properties[f.Name] = s
				if !f.Optional {
					required = append(required, f.Name)
				}
			}
		}
		if parameters != nil {
			operation["parameters"] = parameters
		}
		if o.Method == "POST" {
			input := map[string]any{"type": "object", "properties": properties, "required": required, "additionalProperties": false}
			if request != "application/json" {
				file := map[string]any{"type": "string", "contentMediaType": "application/octet-stream"}
				input = map[string]any{"type": "object", "properties": map[string]any{"input": input, "file": file}, "required": []string{"input", "file"}}
			}
			operation["requestBody"] = map[string]any{"content": map[string]any{request: map[string]any{"schema": input}}}
		}
		entry[strings.ToLower(o.Method)] = operation
	}
	return map[string]any{
		"openapi": "3.1.0",
		"info":    map[string]any{"title": "Hearth", "version": "1", "description": "Reached over the private network, over https at home, or on the box's admin.sock. Send an app password (Basic) or a token (Bearer); cookies are ignored."},
		"paths":   paths,
		"components": map[string]any{"securitySchemes": map[string]any{
			"app":   map[string]any{"type": "http", "scheme": "basic"},
			"token": map[string]any{"type": "http", "scheme": "bearer"},
		}},
		"security": []any{map[string]any{"app": []any{}}, map[string]any{"token": []any{}}},
	}
}

// answer is the content of what an operation gives.
func answer(t reflect.Type) map[string]any {
	if t == reflect.TypeFor[Download]() {
		return map[string]any{"application/x-tar": map[string]any{}}
	}
	return jsonContent(schema(t))
}

func jsonContent(s map[string]any) map[string]any {
	return map[string]any{"application/json": map[string]any{"schema": s}}
}

// schema describes a Go type as JSON Schema.
func schema(t reflect.Type) map[string]any {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return map[string]any{"type": "string", "format": "date-time"}
	case t == reflect.TypeFor[[]byte]():
		return map[string]any{"type": "string", "format": "byte"}
	case t == reflect.TypeFor[secret.Text](), t == reflect.TypeFor[secret.Shown]():
		return map[string]any{"type": "string", "format": "password"}
	case t.Implements(reflect.TypeFor[encoding.TextMarshaler]()):
		return map[string]any{"type": "string"}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return schema(t.Elem())
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Int, reflect.Int64, reflect.Uint64, reflect.Uint16:
		return map[string]any{"type": "integer"}
	case reflect.Slice:
		return map[string]any{"type": "array", "items": schema(t.Elem())}
	case reflect.Struct:
		properties := map[string]any{}
		for i := range t.NumField() {
			name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
			if name != "" && name != "-" {
				properties[name] = schema(t.Field(i).Type)
			}
		}
		return map[string]any{"type": "object", "properties": properties}
	}
	return map[string]any{"type": "string"}
}
