package api

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"hearth.alt/services"
	"hearth.alt/services/durable"
)

// Prefix is where the operations live on every private face and on admin.sock.
const Prefix = "/api/v1"

// Failure is the body of every refusal of /api/v1.
type Failure struct {
	Error struct {
		Code    string `json:"code"`            // stable, for programs
		Message string `json:"message"`         // one sentence, for people, in English
		Field   string `json:"field,omitempty"` // the input at fault
	} `json:"error"`
}

// HTTPStatus is the HTTP status of a kind of problem (RFC 9110, section 15; 429 of RFC 6585).
func HTTPStatus(k services.Kind) int {
	switch k {
	case services.KindInvalid:
		return http.StatusBadRequest
	case services.KindDenied:
		return http.StatusForbidden
	case services.KindSignIn:
		return http.StatusUnauthorized
	case services.KindNotFound:
		return http.StatusNotFound
	case services.KindConflict:
		return http.StatusConflict
	case services.KindBusy:
		return http.StatusTooManyRequests
	case services.KindUnavailable:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// WriteFailure answers with err as a Failure; what went wrong inside goes to log, not to the caller.
func WriteFailure(w http.ResponseWriter, log *slog.Logger, operation string, err error) {
	p := services.AsProblem(err)
	if p.Kind == services.KindInternal {
		log.Error("operation fails", "operation", operation, "error", err)
	} else if p.Cause != nil {
		log.Info("operation is refused", "operation", operation, "code", p.Code, "cause", p.Cause)
	}
	var f Failure
	if p.Code == "not-ready" {
		w.Header().Set("Retry-After", "1")
	}
	f.Error.Code, f.Error.Message, f.Error.Field = p.Code, p.Say.String(), p.Field
	writeJSON(w, HTTPStatus(p.Kind), f)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.Encode(v)
}

// documentRule is who may read the table's own description: anybody on a private face of a box that has an owner.
var documentRule = Rule{Faces: Private, After: true}

// Access finds who calls and whether the password is fresh. The web server hands it in. An error says why there is no
// telling; the caller is then nobody.
type Access func(r *http.Request) (caller services.Caller, fresh bool, err error)

// Handler serves the operations and their document below Prefix. It decides nothing by itself about who calls: access
// names the caller, the rule of the row decides.
func Handler(h *House, log *slog.Logger, access Access) http.Handler {
	mux := http.NewServeMux()
	for _, o := range Table() {
		mux.HandleFunc(o.Method+" "+Prefix+o.Path, func(w http.ResponseWriter, r *http.Request) {
			caller, fresh, unknown := access(r)
			out, err := serve(&o, h, w, r, caller, fresh)
			if unknown != nil && errors.Is(err, ErrSignIn) {
				err = unknown
			}
			if caller.Face == services.FaceConsole {
				h.auditCall(r.Context(), caller, &o, err)
			}
			if err != nil {
				WriteFailure(w, log, o.Name, err)
				return
			}
			if d, ok := out.(Download); ok {
				d.send(w, log)
				return
			}
			if o.out == reflect.TypeFor[None]() {
				out = struct{}{}
			}
			writeJSON(w, http.StatusOK, out)
		})
	}
	mux.HandleFunc("GET "+Prefix+"/openapi.json", func(w http.ResponseWriter, r *http.Request) {
		caller, fresh, _ := access(r) // whoever calls, anybody may
		if err := documentRule.Allow(caller, h.Ownership(), fresh); err != nil {
			WriteFailure(w, log, "openapi", err)
			return
		}
		writeJSON(w, http.StatusOK, Document())
	})
	mux.HandleFunc(Prefix+"/", func(w http.ResponseWriter, r *http.Request) { WriteFailure(w, log, "none", ErrNotHere) })
	return mux
}

func serve(o *Operation, h *House, w http.ResponseWriter, r *http.Request, caller services.Caller, fresh bool) (any, error) {
	if err := o.Allow(caller, h.Ownership(), fresh); errors.Is(err, ErrFresh) {
		return nil, ErrNotForApps // nobody can type a password here
	} else if err != nil {
		return nil, err
	}
	in, err := decode(o, w, r)
	if err != nil {
		return nil, err
	}
	out, err := o.Call(r.Context(), h, caller, in)
	if o.takesFile() {
		_, _ = io.Copy(io.Discard, r.Body) // so that whoever sends it hears a refusal; its length is bounded
	}
	return out, err
}

func invalid(field string, cause error) error {
	p := &services.Problem{Kind: services.KindInvalid, Code: "bad-input", Field: field, Cause: cause}
	if field == "" {
		p.Say = services.Say("api.bad-input", "The request could not be read. Nothing was changed.")
	} else {
		p.Say = services.Say("api.bad-field", "The value of {field} could not be read. Nothing was changed.", "field", field)
	}
	return p
}

// badField says what a field wants whose value could not be read.
func badField(f Field, cause error) error {
	p := invalid(f.Name, cause).(*services.Problem)
	switch f.kind() {
	case role:
		p.Say = services.Say("api.wants-role", "{field} is owner, admin, member or guest. Nothing was changed.", "field", f.Name)
	case number:
		p.Say = notNumber(f.Name)
	case moment:
		p.Say = services.Say("api.wants-time", "{field} is written like 2026-11-21T12:00:00Z. Nothing was changed.", "field", f.Name)
	}
	return p
}

func notNumber(field string) services.Sentence {
	return services.Say("api.wants-number", "{field} is a whole number from 1 on. Nothing was changed.", "field", field)
}

// unread finds the field of a JSON object that cannot be read, so that the refusal names it.
func unread(body []byte, in reflect.Type, fields []Field) (Field, bool) {
	var raw map[string]json.RawMessage
	if json.Unmarshal(body, &raw) != nil {
		return Field{}, false
	}
	for _, f := range fields {
		if v, ok := raw[f.Name]; ok && json.Unmarshal(v, reflect.New(in.Field(f.Index).Type).Interface()) != nil {
			return f, true
		}
	}
	return Field{}, false
}

// transferTime is how long a file may take on its way in or out.
const transferTime = 15 * time.Minute

// WarningHeader is where the warning of a Download stands, escaped as in a query.
const WarningHeader = "Hearth-Warning"

// send answers with the file. What breaks off in the middle is seen by the client.
func (d Download) send(w http.ResponseWriter, log *slog.Logger) {
	defer d.Close()
	// Not every writer has deadlines; then those of the server count.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(transferTime))
	w.Header().Set("Content-Type", d.Type)
	w.Header().Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": d.Name}))
	w.Header().Set("Cache-Control", "no-store")
	if !d.Warning.IsZero() {
		w.Header().Set(WarningHeader, url.QueryEscape(d.Warning.String()))
	}
	if err := d.Write(w); err != nil {
		log.Warn("a file was not sent to its end", "file", d.Name, "error", err)
		panic(http.ErrAbortHandler)
	}
}

// upload reads the parts of a request with a file: the JSON is whole, the file is still to be read.
func upload(w http.ResponseWriter, r *http.Request) (io.Reader, Upload, error) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(transferTime))
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(transferTime + time.Minute))
	parts, err := r.MultipartReader()
	if err != nil {
		return nil, Upload{}, invalid("", err)
	}
	input, err := parts.NextPart()
	if err != nil || input.FormName() != "input" {
		return nil, Upload{}, invalid("", fmt.Errorf("the first part is not input: %v", err))
	}
	body, err := io.ReadAll(io.LimitReader(input, services.MaxRequest))
	if err != nil {
		return nil, Upload{}, invalid("", err)
	}
	file, err := parts.NextPart()
	if err != nil || file.FormName() != "file" {
		return nil, Upload{}, invalid("file", fmt.Errorf("the second part is not file: %v", err))
	}
	return bytes.NewReader(body), Upload{file}, nil
}

// decode reads the input of o: the body as strict JSON for POST, the query for GET, then the path's values.
func decode(o *Operation, w http.ResponseWriter, r *http.Request) (any, error) {
	in := reflect.New(o.in)
	fields := o.Fields()
	if r.Method == http.MethodPost {
		var content io.Reader = http.MaxBytesReader(w, r.Body, services.MaxRequest)
		var attached Upload
		at := -1
		for _, f := range fields {
			if f.Upload {
				input, file, err := upload(w, r)
				if err != nil {
					return nil, err
				}
				content, attached, at = input, file, f.Index
			}
		}
		body, err := io.ReadAll(content)
		var large *http.MaxBytesError
		switch {
		case errors.As(err, &large):
			return nil, &services.Problem{
				Kind: services.KindInvalid, Code: "too-large",
				Say: services.Say("api.too-large", "The request is larger than {most} bytes. Nothing was changed.", "most", services.MaxRequest),
			}
		case err != nil:
			return nil, invalid("", err)
		}
		if err := strict(body, fields); err != nil {
			return nil, invalid("", err)
		}
		d := json.NewDecoder(bytes.NewReader(body))
		d.DisallowUnknownFields()
		if err := d.Decode(in.Interface()); err != nil && !errors.Is(err, io.EOF) {
			if f, ok := unread(body, o.in, fields); ok {
				return nil, badField(f, err)
			}
			return nil, invalid("", err)
		}
		if _, err := d.Token(); !errors.Is(err, io.EOF) {
			return nil, invalid("", errors.New("more than one value"))
		}
		if at >= 0 {
			in.Elem().Field(at).Set(reflect.ValueOf(attached))
		}
	} else {
		query, err := url.ParseQuery(r.URL.RawQuery)
		if err != nil {
			return nil, invalid("", err)
		}
		for name, values := range query {
			if !hasField(fields, name) {
				return nil, invalid("", fmt.Errorf("unknown field %q", name))
			}
			if len(values) > 1 || !utf8.ValidString(values[0]) {
				return nil, invalid(name, errors.New("given more than once, or no text"))
			}
		}
		for _, f := range fields {
			if query.Has(f.Name) {
				if err := SetText(in.Elem().Field(f.Index), query.Get(f.Name)); err != nil {
					return nil, badField(f, err)
				}
			}
		}
	}
	for _, f := range fields {
		if f.Path != "" {
			if err := SetText(in.Elem().Field(f.Index), r.PathValue(f.Path)); err != nil {
				return nil, invalid(f.Name, err)
			}
		}
	}
	for _, f := range fields {
		if !f.Optional && in.Elem().Field(f.Index).IsZero() && f.Type.Kind() != reflect.Bool {
			return nil, &services.Problem{
				Kind: services.KindInvalid, Code: "missing", Field: f.Name,
				Say: services.Say("api.missing", "{field} is missing. Nothing was changed.", "field", f.Name),
			}
		}
	}
	return in.Interface(), nil
}

// maxDepth is how deep an input may nest: an object that holds a list.
const maxDepth = 4

// strict refuses what encoding/json would let pass: bytes that are no UTF-8, a name given twice, in other letters than
// its own or without a field, and nesting without end (RFC 8259, sections 4, 8.1 and 9; RFC 7493, section 2).
func strict(body []byte, fields []Field) error {
	if !utf8.Valid(body) {
		return errors.New("not UTF-8")
	}
	type level struct {
		object, value bool            // value: the next token is the value of a name
		names         map[string]bool // seen in this object
	}
	var open []level
	d := json.NewDecoder(bytes.NewReader(body))
	for {
		t, err := d.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if len(open) > 0 && open[len(open)-1].object && !open[len(open)-1].value {
			if name, ok := t.(string); ok {
				top := &open[len(open)-1]
				if top.names[name] || len(open) == 1 && !hasField(fields, name) {
					return fmt.Errorf("%q is given twice or is no field", name)
				}
				top.names[name], top.value = true, true
				continue
			}
		}
		if len(open) > 0 {
			open[len(open)-1].value = false
		}
		switch t {
		case json.Delim('{'), json.Delim('['):
			if len(open) == maxDepth {
				return errors.New("nested too deep")
			}
			open = append(open, level{object: t == json.Delim('{'), names: map[string]bool{}})
		case json.Delim('}'), json.Delim(']'):
			open = open[:len(open)-1]
		}
	}
}

func hasField(fields []Field, name string) bool {
	for _, f := range fields {
		if f.Name == name {
			return true
		}
	}
	return false
}

// SetText puts the text of a flag, a query or a path into a field of an input.
func SetText(v reflect.Value, text string) error {
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return u.UnmarshalText([]byte(text))
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return err
		}
		v.SetBool(b)
	case reflect.Int, reflect.Int64:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return err
		}
		v.SetInt(n)
	case reflect.Slice:
		if v.Type().Elem().Kind() != reflect.String {
			return fmt.Errorf("a list of %v cannot be given as text", v.Type().Elem())
		}
		v.Set(reflect.ValueOf(strings.Fields(text)).Convert(v.Type()))
	default:
		return fmt.Errorf("a %v cannot be given as text", v.Type())
	}
	return nil
}

// notKept says of a full disk that it is one; any other error stays what it is.
func notKept(err error) error {
	if !durable.Full(err) {
		return err
	}
	full := *services.ErrDiskFull
	full.Cause = err
	return &full
}
