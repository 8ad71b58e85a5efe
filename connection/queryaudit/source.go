package queryaudit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"portcullis.dev/portcullis/connection"
)

// File of a log.
type File struct {
	Name     string
	Size     int64
	Modified time.Time
}

// Log is where the files of an instance's log are.
type Log interface {
	// Files in the order in which they were written.
	Files(ctx context.Context) ([]File, error)
	// Read returns at most size bytes from an offset, fewer at the end.
	Read(ctx context.Context, name string, offset int64, size int) ([]byte, error)
}

// CodeUnavailable says that the log cannot be read.
const CodeUnavailable = "query_audit_unavailable"

var fileForm = regexp.MustCompile(`^[A-Za-z0-9_.+-]+\.(csv|json)$`)

func inOrder(files []File) []File {
	slices.SortFunc(files, func(a, b File) int { return cmp.Or(a.Modified.Compare(b.Modified), cmp.Compare(a.Name, b.Name)) })
	return files
}

// Folder is a log that lies on this machine.
type Folder struct{ Path string }

func (f Folder) Files(context.Context) ([]File, error) {
	entries, err := os.ReadDir(f.Path)
	if err != nil {
		return nil, unavailable(err, "the folder "+f.Path+" of the log cannot be read", "Let the service's account read it (log_file_mode = 0640 and its group).")
	}
	var files []File
	for _, e := range entries {
		info, err := e.Info()
		if errors.Is(err, os.ErrNotExist) {
			continue // rotated away meanwhile
		}
		if err != nil {
			return nil, err
		}
		if info.Mode().IsRegular() && fileForm.MatchString(e.Name()) {
			files = append(files, File{Name: e.Name(), Size: info.Size(), Modified: info.ModTime()})
		}
	}
	return inOrder(files), nil
}

func (f Folder) Read(_ context.Context, name string, offset int64, size int) ([]byte, error) {
	root, err := os.OpenRoot(f.Path)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	file, err := root.Open(name)
	if err != nil {
		return nil, unavailable(err, "the log "+name+" cannot be read", "Let the service's account read it (log_file_mode = 0640 and its group).")
	}
	defer file.Close()
	b := make([]byte, size)
	n, err := file.ReadAt(b, offset)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return b[:n], err
}

// Remote is a log that is read through functions of the instance (Script).
type Remote struct {
	Conn *pgx.Conn
	Name string // of the connection, for what a person may run
}

func (r Remote) Files(ctx context.Context) ([]File, error) {
	rows, err := r.Conn.Query(ctx, "SELECT name, size, modified FROM portcullis_audit.files()")
	if err != nil {
		return nil, r.explain(err)
	}
	files, err := pgx.CollectRows(rows, pgx.RowToStructByPos[File])
	if err != nil {
		return nil, r.explain(err)
	}
	return inOrder(files), nil
}

func (r Remote) Read(ctx context.Context, name string, offset int64, size int) ([]byte, error) {
	var b []byte
	if err := r.Conn.QueryRow(ctx, "SELECT portcullis_audit.read($1, $2, $3)", name, offset, size).Scan(&b); err != nil {
		return nil, r.explain(err)
	}
	return b, nil
}

// Zone is the time zone of the log.
func (r Remote) Zone(ctx context.Context) (*time.Location, error) {
	var name string
	if err := r.Conn.QueryRow(ctx, "SHOW log_timezone").Scan(&name); err != nil {
		return nil, r.explain(err)
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, unavailable(err, "the time zone "+name+" of the log is not known here", "Set log_timezone = UTC, or install the time zones (tzdata) beside the service.")
	}
	return zone, nil
}

func (r Remote) explain(err error) error {
	var refused *pgconn.PgError
	if !errors.As(err, &refused) {
		return fmt.Errorf("reading the log: %w", err)
	}
	switch refused.Code {
	case "3F000", "42883", "42501":
		return unavailable(err, "the account may not read the log of the instance", "A superuser runs what `portcullis connection query-audit "+connection.ShellWord(r.Name)+" --print-script` prints, once.")
	}
	return unavailable(err, "the log of the instance cannot be read", "Check that logging_collector is on and log_destination has csvlog or jsonlog.")
}

func unavailable(err error, message, hint string) error {
	e := &connection.Error{Code: CodeUnavailable, Message: message, Hint: hint, Detail: err.Error(), Err: err}
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		e.Detail, e.SQLState = refused.Message, refused.Code
	}
	return e
}
