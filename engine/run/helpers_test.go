package run

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// pgConnect connects to a PostgreSQL source past the library.
func pgConnect(ctx context.Context, s *Source) (*pgx.Conn, error) {
	return pgx.Connect(ctx, fmt.Sprintf("host=%s port=%s dbname=%s user=%s password=%s sslmode=disable",
		s.Server["host"], s.Server["port"], s.Server["database"], s.Mapping["username"], s.Mapping["password"]))
}
