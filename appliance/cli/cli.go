// Package cli is the program's verbs. Those that ask the running box for something are made from the table of
// operations (package api) and call it over admin.sock; those that are processes of their own (run) are handed
// in.
//
// Every verb takes --state DIR before or after it, and all but run --json. An error is one sentence on stderr, with --json an
// api.Failure on stdout as well, and the exit status is not 0.
package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"hearth.alt/appliance/api"
	"hearth.alt/services"
)

// SocketPath is where the box with this state root listens for its console.
func SocketPath(state string) string { return filepath.Join(state, "admin", "admin.sock") }

// DefaultState is the state root when --state is not given: ./.state with --dev, /perm/hearth otherwise.
func DefaultState(dev bool) string {
	if dev {
		return ".state"
	}
	return "/perm/hearth"
}

// Program is what New needs to know of the rest.
type Program struct {
	Version string
	// Add returns further verbs; state is filled in when they run.
	Add func(state *string) []*cobra.Command
}

// New returns the root command with every verb.
func New(p Program) *cobra.Command {
	var state string
	root := &cobra.Command{
		Use: "hearth", Short: "Hearth, a home server for one household", Version: p.Version,
		SilenceUsage: true, SilenceErrors: true, CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	root.PersistentFlags().StringVar(&state, "state", "", "the state root (default ./.state if it is there, else "+DefaultState(false)+")")
	root.Args = func(_ *cobra.Command, args []string) error {
		if len(args) > 0 {
			return fmt.Errorf("there is no verb %q; see hearth --help", args[0])
		}
		return nil
	}
	asJSON := root.Flags().Bool("json", false, "answer in JSON")
	root.Flags().Lookup("json").Hidden = true // so that a word that is no verb is what the sentence is about
	root.RunE = func(c *cobra.Command, _ []string) error {
		if *asJSON {
			return errors.New("hearth needs a verb; see hearth --help")
		}
		return c.Help()
	}
	root.SetFlagErrorFunc(flagError)
	help := &cobra.Command{Use: "help [VERB]", Short: "Help about a verb", RunE: func(c *cobra.Command, args []string) error {
		of, rest, err := root.Find(args)
		if err != nil || len(rest) > 0 {
			return fmt.Errorf("there is no verb %q; see hearth --help", strings.Join(args, " "))
		}
		return of.Help()
	}}
	help.Flags().Bool("json", false, "answer in JSON")
	help.Flags().Lookup("json").Hidden = true
	root.SetHelpCommand(help)
	groups := map[string]*cobra.Command{}
	for _, o := range api.Table() {
		words := strings.Fields(o.Name)
		parent := root
		if len(words) == 2 {
			group := groups[words[0]]
			if group == nil {
				group = &cobra.Command{Use: words[0], Short: groupHelp[words[0]], Args: cobra.ArbitraryArgs}
				asJSON := group.Flags().Bool("json", false, "answer in JSON")
				group.RunE = func(c *cobra.Command, args []string) error {
					switch {
					case len(args) > 0:
						return fmt.Errorf("hearth %s has no verb %q; see hearth %s --help", c.Name(), args[0], c.Name())
					case *asJSON:
						return fmt.Errorf("hearth %s needs a verb; see hearth %s --help", c.Name(), c.Name())
					}
					return c.Help()
				}
				groups[words[0]] = group
				root.AddCommand(group)
			}
			parent = group
		}
		parent.AddCommand(verb(o, words[len(words)-1], &state))
	}
	if p.Add != nil {
		root.AddCommand(p.Add(&state)...)
	}
	return root
}

// groupHelp says what the verbs of a group are about.
var groupHelp = map[string]string{
	"recover": "Check the recovery words, or help somebody who forgot a password",
	"person":  "Who belongs: list, invite, change and remove people",
	"device":  "Phones and laptops: list, add, rename and remove them",
	"time":    "What time the box goes by: show it, and set it when it went wrong",
	"session": "Where people are signed in: list, and sign out",
	"box":     "The boxes of the household: list, invite, join and remove them",
	"log":     "The signed record of who belongs: show and verify it",
	"peer":    "Other boxes: ask for a sign of life, and what they speak with this one",
	"friend":  "Other households: list, invite, accept, allow and remove them",
	"contact": "What other households see of this one",
	"dns":     "Names from outside that may point home: list, allow and remove them",
}

// flagError says in a sentence what pflag says in Go's words.
func flagError(c *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	var value *pflag.InvalidValueError
	what := err.Error()
	switch {
	case errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() != "":
		what = "there is no flag -" + unknown.GetSpecifiedName()
	case errors.As(err, &unknown):
		what = "there is no flag --" + unknown.GetSpecifiedName()
	case errors.As(err, &value):
		what = fmt.Sprintf("--%s wants %s, and %q is none", value.GetFlag().Name, kindOf(value.GetFlag().Value.Type()), value.GetValue())
	}
	return fmt.Errorf("%s; see %s --help", what, c.CommandPath())
}

// kindOf says in words what pflag calls a type.
func kindOf(t string) string {
	switch {
	case strings.HasPrefix(t, "int"):
		return "a whole number"
	case t == "uint16":
		return "a number from 0 to 65535"
	case t == "bool":
		return "yes or no (true or false)"
	}
	return "another value"
}

// Run runs the program with its arguments and returns the exit status: 0 done, 1 refused or failed, 2 not understood.
func Run(ctx context.Context, p Program, args []string, stdout, stderr io.Writer) int {
	root := New(p)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	var refused *Refusal
	var problem *services.Problem
	failure := api.Failure{}
	status := 2
	switch {
	case errors.As(err, &refused):
		failure, status = refused.Failure, 1
	case errors.As(err, &problem):
		failure.Error.Code, failure.Error.Message, failure.Error.Field, status = problem.Code, problem.Say.String(), problem.Field, 1
	default:
		failure.Error.Code, failure.Error.Message = "usage", err.Error()
	}
	for _, a := range args {
		if a == "--json" || a == "--json=true" {
			e := json.NewEncoder(stdout)
			e.SetEscapeHTML(false)
			e.Encode(failure)
			break
		}
	}
	fmt.Fprintln(stderr, failure.Error.Message)
	return status
}

// Refusal is the box's own refusal of an operation.
type Refusal struct{ Failure api.Failure }

func (r *Refusal) Error() string { return r.Failure.Error.Message }

func verb(o api.Operation, word string, state *string) *cobra.Command {
	var asJSON bool
	var arguments []api.Field
	use := word
	for _, f := range o.Fields() {
		if f.Arg != "" {
			arguments = append(arguments, f)
			use += " " + f.Arg
		}
	}
	values := map[string]any{} // json name -> *string, *bool, *int64 or *[]string
	files := map[string]*string{}
	saves := map[string]*string{}
	c := &cobra.Command{
		Use: use, Short: o.Summary,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != len(arguments) {
				return fmt.Errorf("usage: hearth %s%s; see hearth %s --help", o.Name, strings.TrimPrefix(use, word), o.Name)
			}
			return nil
		},
	}
	flags := c.Flags()
	flags.BoolVar(&asJSON, "json", false, "answer in JSON")
	for _, f := range o.Fields() {
		switch {
		case f.Arg != "":
		case f.File != "":
			files[f.Name] = flags.String(f.File+"-file", "", f.Help+" (read from this file)")
		case f.Type.Kind() == reflect.Bool:
			values[f.Name] = flags.Bool(f.Flag, false, f.Help)
		case f.Type.Kind() == reflect.Int || f.Type.Kind() == reflect.Int64:
			values[f.Name] = flags.Int64(f.Flag, 0, f.Help)
		case f.Type.Kind() == reflect.Slice:
			values[f.Name] = flags.StringArray(f.Flag, nil, f.Help)
		default:
			values[f.Name] = flags.String(f.Flag, "", f.Help)
		}
	}
	if o.Out().Kind() == reflect.Struct {
		for i := range o.Out().NumField() {
			if name := o.Out().Field(i).Tag.Get("save"); name != "" {
				saves[name] = flags.String(name, "", "write the "+strings.ToUpper(name)+" to this file")
			}
		}
	}
	c.RunE = func(cmd *cobra.Command, args []string) error {
		in := map[string]any{}
		var from, to *string // files that are sent, and brought
		for i, f := range arguments {
			switch {
			case f.Upload:
				from = &args[i]
			case f.Save:
				to = &args[i]
			default:
				in[f.Name] = args[i]
			}
		}
		for name, v := range values {
			flag := strings.ReplaceAll(name, "_", "-")
			if flags.Changed(flag) {
				in[name] = reflect.ValueOf(v).Elem().Interface()
			}
		}
		for _, f := range o.Fields() {
			path := files[f.Name]
			if path == nil || *path == "" {
				continue
			}
			b, err := readFile(*path)
			if err != nil {
				return err
			}
			if f.Type.Kind() == reflect.Slice {
				in[f.Name] = strings.Fields(string(b))
			} else {
				in[f.Name] = strings.TrimRight(string(b), "\r\n")
			}
		}
		if err := missing(o, in); err != nil {
			return err
		}
		if to != nil {
			return download(cmd, *state, o, in, *to, asJSON)
		}
		var out []byte
		var err error
		if from != nil {
			out, err = sendFile(cmd.Context(), *state, o, in, *from)
		} else {
			out, err = Call(cmd.Context(), *state, o, in)
		}
		if err != nil {
			return err
		}
		for name, path := range saves {
			if *path == "" {
				continue
			}
			if err := save(out, o.Out(), name, *path); err != nil {
				return err
			}
		}
		if asJSON {
			e := json.NewEncoder(cmd.OutOrStdout())
			e.SetEscapeHTML(false)
			return e.Encode(json.RawMessage(out))
		}
		if err := show(cmd.OutOrStdout(), o, out); err != nil {
			return err
		}
		for name, path := range saves {
			if *path != "" {
				fmt.Fprintf(cmd.OutOrStdout(), "The %s is in %s.\n", strings.ToUpper(name), *path)
			}
		}
		return nil
	}
	return c
}

// missing names every flag that o needs and in lacks, all at once, before the box is asked.
func missing(o api.Operation, in map[string]any) error {
	var flags []string
	first := ""
	for _, f := range o.Fields() {
		v, given := in[f.Name]
		if f.Optional || f.Type.Kind() == reflect.Bool || f.Arg != "" || given && !reflect.ValueOf(v).IsZero() {
			continue
		}
		flag := "--" + f.Flag
		if f.File != "" {
			flag = "--" + f.File + "-file"
		}
		if wants := f.Wants(); wants != "" {
			flag += " (" + wants + ")"
		}
		if flags = append(flags, flag); first == "" {
			first = f.Name
		}
	}
	if len(flags) == 0 {
		return nil
	}
	list := flags[0]
	if n := len(flags) - 1; n > 0 {
		list = strings.Join(flags[:n], ", ") + " and " + flags[n]
	}
	return &services.Problem{
		Kind: services.KindInvalid, Code: "missing", Field: first,
		Say: services.Say("cli.missing", "hearth {verb} needs {flags}. See hearth {verb} --help.", "verb", o.Name, "flags", list),
	}
}

func readFile(path string) ([]byte, error) {
	const most = 64 << 10
	f, err := os.Open(path)
	if err != nil {
		return nil, badFile(path, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && len(b) > most {
		err = fmt.Errorf("it is larger than %d bytes", most)
	}
	if err != nil {
		return nil, badFile(path, err)
	}
	return b, nil
}

func badFile(path string, cause error) error {
	return &services.Problem{
		Kind: services.KindInvalid, Code: "file", Cause: cause,
		Say: services.Say("cli.file", "The file {file} could not be used: {why}.", "file", path, "why", reason(cause)),
	}
}

// reason is what the system said, without the path, which the sentence has.
func reason(err error) string {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}

// save writes the base64 field with tag save:name of the answer to path, which only its owner may read.
func save(out []byte, t reflect.Type, name, path string) error {
	v := reflect.New(t)
	if err := json.Unmarshal(out, v.Interface()); err != nil {
		return err
	}
	for i := range t.NumField() {
		if t.Field(i).Tag.Get("save") == name {
			if err := os.WriteFile(path, v.Elem().Field(i).Bytes(), 0o600); err != nil {
				return badFile(path, err)
			}
		}
	}
	return nil
}

// ErrNotRunning says that nothing answers on admin.sock.
var ErrNotRunning = &services.Problem{
	Kind: services.KindUnavailable, Code: "not-running",
	Say: services.Say("cli.not-running", "No Hearth is running with this state folder. Start it with hearth run, or name the right folder with --state."),
}

// ErrNoAnswer says that the box went away during a call.
var ErrNoAnswer = &services.Problem{
	Kind: services.KindUnavailable, Code: "no-answer",
	Say: services.Say("cli.no-answer", "The box stopped before it answered, so it may be done or not. Look with hearth status, then try again."),
}

// ErrNotYours says that the console belongs to another user of the machine.
var ErrNotYours = &services.Problem{
	Kind: services.KindDenied, Code: "not-yours",
	Say: services.Say("cli.not-yours", "The Hearth of this state folder belongs to another user of this computer. Run this as that user or as root."),
}

// ShortSocket is another name for the socket at path where path is longer than a socket address may be (unix(7)): it
// leads through the folder's descriptor and holds until release is called.
func ShortSocket(path string) (name string, release func(), err error) {
	if len(path) < 108 { // sun_path, with the zero byte that ends it
		return path, func() {}, nil
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path)), func() { dir.Close() }, nil
}

func dial(ctx context.Context, socket string) (net.Conn, error) {
	name, release, err := ShortSocket(socket)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: "unix", Err: err}
	}
	defer release()
	return (&net.Dialer{}).DialContext(ctx, "unix", name)
}

// Call asks the box with this state root to do o. in holds the input by json name.
func Call(ctx context.Context, state string, o api.Operation, in map[string]any) ([]byte, error) {
	resp, err := ask(ctx, state, o, in, nil)
	if err != nil {
		return nil, err
	}
	return answer(resp)
}

// answer reads what the box says.
func answer(resp *http.Response) ([]byte, error) {
	defer resp.Body.Close()
	out, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err != nil {
		return nil, ErrNoAnswer
	}
	if resp.StatusCode != http.StatusOK {
		refused := &Refusal{}
		if err := json.Unmarshal(out, &refused.Failure); err != nil || refused.Failure.Error.Code == "" {
			return nil, fmt.Errorf("the box answered %s", resp.Status)
		}
		return nil, refused
	}
	return bytes.TrimSpace(out), nil
}

// ask sends what Call says, with the file where there is one. The body of the answer is the caller's to close.
func ask(ctx context.Context, state string, o api.Operation, in map[string]any, file io.Reader) (*http.Response, error) {
	if state == "" {
		state = DefaultState(false)
		if _, err := os.Stat(SocketPath(DefaultState(true))); err == nil {
			state = DefaultState(true)
		}
	}
	socket := SocketPath(state)
	path := api.Prefix + o.Path
	query := url.Values{}
	for _, f := range o.Fields() {
		v, given := in[f.Name]
		switch {
		case f.Path != "":
			path = strings.ReplaceAll(path, "{"+f.Path+"}", url.PathEscape(fmt.Sprint(v)))
			delete(in, f.Name)
		case o.Method != http.MethodPost && given:
			query.Set(f.Name, fmt.Sprint(v))
		}
	}
	var body io.Reader = http.NoBody
	media := "application/json"
	if o.Method == http.MethodPost {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(b)
		if file != nil {
			body, media = parts(b, file)
		}
	}
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dial(ctx, socket)
		},
	}}
	r, err := http.NewRequestWithContext(ctx, o.Method, "http://hearth"+path, body)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", media)
	resp, err := client.Do(r)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) && op.Op == "dial" {
			if errors.Is(err, os.ErrPermission) {
				return nil, ErrNotYours
			}
			return nil, ErrNotRunning
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, ErrNoAnswer
	}
	return resp, nil
}
