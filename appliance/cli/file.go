package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"net/url"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"hearth.alt/appliance/api"
	"hearth.alt/appliance/archive"
	"hearth.alt/services/durable"
)

// parts is a body of two parts, the input and the file, and its media type (api.Upload).
func parts(input []byte, file io.Reader) (io.Reader, string) {
	r, w := io.Pipe()
	form := multipart.NewWriter(w)
	go func() {
		w.CloseWithError(func() error {
			p, err := form.CreatePart(textproto.MIMEHeader{"Content-Disposition": {`form-data; name="input"`}, "Content-Type": {"application/json"}})
			if err != nil {
				return err
			}
			if _, err := p.Write(input); err != nil {
				return err
			}
			if p, err = form.CreateFormFile("file", "file"); err != nil {
				return err
			}
			if _, err := io.Copy(p, file); err != nil {
				return err
			}
			return form.Close()
		}())
	}()
	return r, form.FormDataContentType()
}

// sendFile is Call with the file at path.
func sendFile(ctx context.Context, state string, o api.Operation, in map[string]any, path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, badFile(path, err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, badFile(path, err)
	case info.IsDir():
		return nil, badFile(path, fmt.Errorf("it is a folder"))
	case info.Size() > archive.MaxBytes:
		return nil, archive.ErrTooLarge
	}
	resp, err := ask(ctx, state, o, in, f)
	if err != nil {
		return nil, err
	}
	return answer(resp)
}

// saved is what a verb that brings a file says of it.
type saved struct {
	File    string `json:"file"`
	Bytes   int64  `json:"bytes"`
	SHA256  string `json:"sha256"`
	Warning string `json:"warning,omitempty"`
}

// download is Call for an operation that gives a file: it is at path once it is whole.
func download(cmd *cobra.Command, state string, o api.Operation, in map[string]any, path string, asJSON bool) error {
	resp, err := ask(cmd.Context(), state, o, in, nil)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		_, err := answer(resp)
		return err
	}
	defer resp.Body.Close()
	s := saved{File: path}
	if s.Bytes, s.SHA256, err = keep(resp.Body, path); err != nil {
		return err
	}
	s.Warning, _ = url.QueryUnescape(resp.Header.Get(api.WarningHeader))
	if asJSON {
		e := json.NewEncoder(cmd.OutOrStdout())
		e.SetEscapeHTML(false)
		return e.Encode(s)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "It is in %s: %d bytes, SHA-256 %s.\n", path, s.Bytes, s.SHA256)
	if s.Warning != "" {
		fmt.Fprintln(cmd.OutOrStdout(), s.Warning)
	}
	return nil
}

// keep writes r to path, which only its owner may read: whole, or not at all.
func keep(r io.Reader, path string) (size int64, hash string, err error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return 0, "", badFile(path, fmt.Errorf("it is no plain file"))
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".hearth-*") // with mode 0600
	if err != nil {
		return 0, "", badFile(path, err)
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	sum := sha256.New()
	from := &source{Reader: r}
	size, err = io.Copy(io.MultiWriter(f, sum), from)
	if from.failed {
		return 0, "", ErrNoAnswer
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = f.Close()
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err == nil {
		err = durable.SyncDir(filepath.Dir(path))
	}
	if err != nil {
		return 0, "", badFile(path, err)
	}
	return size, hex.EncodeToString(sum.Sum(nil)), nil
}

// source tells an error of reading from one of writing.
type source struct {
	io.Reader
	failed bool
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	s.failed = s.failed || err != nil && err != io.EOF
	return n, err
}
