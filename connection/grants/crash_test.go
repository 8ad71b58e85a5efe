package grants_test

import (
	"context"
	"errors"
	"net"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
)

var errBroken = errors.New("the line broke")

// breakAfter makes sessions that all break for good after a number of messages
// of theirs: that message is not sent any more.
func breakAfter(messages int) func(*pgx.ConnConfig) {
	left := new(atomic.Int64)
	left.Store(int64(messages))
	return func(c *pgx.ConnConfig) {
		c.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
			if left.Load() <= 0 {
				return nil, errBroken
			}
			conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return &fragile{Conn: conn, left: left}, nil
		}
	}
}

type fragile struct {
	net.Conn
	left *atomic.Int64
}

func (f *fragile) Write(b []byte) (int, error) {
	if f.left.Add(-1) < 0 {
		_ = f.Conn.Close()
		return 0, errBroken
	}
	return f.Conn.Write(b)
}
