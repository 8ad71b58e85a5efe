package testenv

import (
	"context"
	"errors"
	"net"

	"github.com/jackc/pgx/v5"
)

// DialOnce makes a client that, when its connection is gone, does not dial again
// to have its statement cancelled.
func DialOnce(config *pgx.ConnConfig) {
	dial, dialled := config.DialFunc, false
	config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		if dialled {
			return nil, errors.New("this client dials once")
		}
		dialled = true
		return dial(ctx, network, address)
	}
}
