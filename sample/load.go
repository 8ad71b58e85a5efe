package sample

import (
	"bufio"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"

	"github.com/jackc/pgx/v5"
)

// LoadPostgres makes the table in a schema and copies its rows; it returns how many.
func (t Table) LoadPostgres(ctx context.Context, conn *pgx.Conn, schema, folder string) (int64, error) {
	name := pgx.Identifier{schema, t.Name}.Sanitize()
	if _, err := conn.Exec(ctx, "CREATE TABLE "+name+" ("+t.DDL+")"); err != nil {
		return 0, err
	}
	var copied int64
	err := t.pipe(ctx, folder, csvLine, func(r io.Reader) error {
		tag, err := conn.PgConn().CopyFrom(ctx, r, "COPY "+name+" FROM STDIN (FORMAT csv)")
		copied = tag.RowsAffected()
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("load %s: %w", t.Name, err)
	}
	_, err = conn.Exec(ctx, "ANALYZE "+name)
	return copied, err
}

// LoadMariaDB makes the table and loads its rows. client prepares the command
// line client on the database, with the further arguments given.
func (t Table) LoadMariaDB(ctx context.Context, client func(args ...string) (*exec.Cmd, error), folder string) error {
	statements := fmt.Sprintf("CREATE TABLE `%s` (%s); "+
		"LOAD DATA LOCAL INFILE '/dev/stdin' INTO TABLE `%s` CHARACTER SET utf8mb4 FIELDS TERMINATED BY '\\t'; "+
		"ANALYZE TABLE `%s`", t.Name, t.DDL, t.Name, t.Name)
	cmd, err := client("--execute=SET sql_mode='STRICT_ALL_TABLES'; " + statements)
	if err != nil {
		return err
	}
	return t.feed(ctx, cmd, folder, tabLine)
}

// LoadSQLite makes the table in the file and imports its rows. The shell has
// no NULL in imports, so empty fields of columns that may be NULL are set after.
func (t Table) LoadSQLite(ctx context.Context, file, folder string) error {
	if err := sqlite(ctx, file, fmt.Sprintf("CREATE TABLE %q (%s)", t.Name, t.DDL)); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "sqlite3", "-batch", "-bail", file, ".mode csv", `.import /dev/stdin "`+t.Name+`"`)
	if err := t.feed(ctx, cmd, folder, csvLine); err != nil {
		return err
	}
	for _, column := range strings.Split(t.DDL, ",") {
		if strings.Contains(column, "NOT NULL") || strings.Contains(column, "PRIMARY KEY") {
			continue
		}
		name := strings.Fields(column)[0]
		if err := sqlite(ctx, file, fmt.Sprintf("UPDATE %q SET %q = NULL WHERE %q = ''", t.Name, name, name)); err != nil {
			return err
		}
	}
	return nil
}

func sqlite(ctx context.Context, file, statement string) error {
	out, err := exec.CommandContext(ctx, "sqlite3", "-batch", "-bail", file, statement).CombinedOutput()
	if err != nil {
		return fmt.Errorf("sqlite3: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// feed runs a client that reads the rows from its standard input.
func (t Table) feed(ctx context.Context, cmd *exec.Cmd, folder string, line func(io.Writer, []string) error) error {
	var output strings.Builder
	cmd.Stdout, cmd.Stderr = &output, &output
	err := t.pipe(ctx, folder, line, func(r io.Reader) error {
		cmd.Stdin = r
		return cmd.Run()
	})
	if err != nil {
		return fmt.Errorf("load %s: %w: %s", t.Name, err, strings.TrimSpace(output.String()))
	}
	if strings.Contains(strings.ToLower(output.String()), "error") { // sqlite3 tells bad rows and goes on
		return fmt.Errorf("load %s: %s", t.Name, strings.TrimSpace(output.String()))
	}
	return nil
}

// pipe writes the rows, one a line, into what consume reads.
func (t Table) pipe(ctx context.Context, folder string, line func(io.Writer, []string) error, consume func(io.Reader) error) error {
	r, w := io.Pipe()
	written := make(chan error, 1)
	go func() {
		buffered := bufio.NewWriterSize(w, 1<<16)
		err := t.Read(ctx, folder, func(row []string) error { return line(buffered, row) })
		err = errors.Join(err, buffered.Flush())
		w.CloseWithError(err)
		written <- err
	}()
	err := consume(r)
	r.CloseWithError(err)
	return errors.Join(err, <-written)
}

// csvLine writes NULL as an empty field without quotes.
func csvLine(w io.Writer, row []string) error {
	c := csv.NewWriter(w)
	if err := c.Write(row); err != nil {
		return err
	}
	c.Flush()
	return c.Error()
}

var tabEscapes = strings.NewReplacer(`\`, `\\`, "\t", `\t`, "\n", `\n`)

// tabLine writes NULL as \N.
func tabLine(w io.Writer, row []string) error {
	for i, value := range row {
		end := "\t"
		if i == len(row)-1 {
			end = "\n"
		}
		if value == "" {
			value = `\N`
		} else {
			value = tabEscapes.Replace(value)
		}
		if _, err := io.WriteString(w, value+end); err != nil {
			return err
		}
	}
	return nil
}
