package grants

import (
	"context"
	"sync"

	"github.com/jackc/pgx/v5"
)

// sessions holds one session a database for the length of a round.
type sessions struct {
	connect Connect
	mu      sync.Mutex
	open    map[string]*pgx.Conn
}

func (s *sessions) get(ctx context.Context, database string) (*pgx.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.open[database]; c != nil && !c.IsClosed() {
		return c, nil
	}
	conn, err := s.connect(ctx, database)
	if err != nil {
		return nil, err
	}
	if s.open == nil {
		s.open = map[string]*pgx.Conn{}
	}
	s.open[database] = conn
	return conn, nil
}

// drop closes the session of a database; the next get makes another.
func (s *sessions) drop(database string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.open[database]; c != nil {
		end(c)
		delete(s.open, database)
	}
}

func (s *sessions) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.open {
		end(c)
	}
	s.open = nil
}

// end closes a session, whatever became of who needed it, and waits no longer
// than our transactions may idle.
func end(c *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), longestIdle)
	defer cancel()
	_ = c.Close(ctx)
}
