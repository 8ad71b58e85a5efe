package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"portcullis.dev/portcullis/internal/apiclient"
	"portcullis.dev/portcullis/internal/seal"
)

const (
	tokenLimit   = 5 * time.Second // one exchange
	maxToken     = 4096            // bytes
	minTokenLife = time.Second
)

// tokens holds the node's token for the session's other parts.
type tokens struct {
	mu      sync.Mutex
	token   string
	expires time.Time
	has     *latest[struct{}] // put with every new token
	bad     chan struct{}     // the service refused the token: get another
}

func newTokens() *tokens {
	return &tokens{has: newLatest[struct{}](), bad: make(chan struct{}, 1)}
}

func (t *tokens) put(token string, expires time.Time) {
	t.mu.Lock()
	t.token, t.expires = token, expires
	t.mu.Unlock()
	t.has.put(struct{}{})
}

// get waits for a token that has not expired.
func (t *tokens) get(ctx context.Context) (string, error) {
	for {
		changed := t.has.changed()
		t.mu.Lock()
		token, valid := t.token, time.Now().Before(t.expires)
		t.mu.Unlock()
		if valid {
			return token, nil
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("no token from the policy service: %w", ctx.Err())
		case <-changed:
		}
	}
}

// refused drops a token that the service no longer takes.
func (t *tokens) refused(token string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.token != token {
		return
	}
	t.token, t.expires = "", time.Time{}
	select {
	case t.bad <- struct{}{}:
	default:
	}
}

// keepToken exchanges the API key and renews at half of the token's life.
func (s *session) keepToken(ctx context.Context) error {
	retry := backoff{first: 250 * time.Millisecond, most: 15 * time.Second}
	for {
		life, err := s.renewToken(ctx)
		if err != nil {
			s.report("token", "none: "+err.Error())
			s.fail("token", err)
			if err := retry.wait(ctx, nil); err != nil {
				return err
			}
			continue
		}
		refreshed := time.Now()
		if err := sleep(ctx, life/2, s.tokens.bad); err != nil {
			return err
		}
		// A service that hands out tokens and refuses them must not be hammered.
		if time.Since(refreshed) >= minTokenLife {
			retry.reset()
		} else if err := retry.wait(ctx, nil); err != nil {
			return err
		}
	}
}

func (s *session) renewToken(ctx context.Context) (life time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, tokenLimit)
	defer cancel()
	if s.cfg.sealed == "" {
		return 0, errors.New("no API key: put one with immutasys.set_api_key()")
	}
	if s.opts.KeyFile == "" {
		return 0, errors.New("no key file: set portcullis.key_file")
	}
	key, err := seal.Unseal(s.opts.KeyFile, s.cfg.sealed)
	if err != nil {
		return 0, fmt.Errorf("open the API key of immutasys.dbtoken: %w", err)
	}
	answer := struct {
		Token       string `json:"token"`
		ExpiresInMS int64  `json:"expires_in_ms"`
	}{}
	asked := time.Now()
	err = s.client.call(ctx, "/v1/token", "", map[string]string{"api_key": key, "node": s.cfg.node}, &answer)
	if err != nil {
		return 0, err
	}
	life = time.Duration(answer.ExpiresInMS) * time.Millisecond
	if answer.ExpiresInMS <= 0 || life/time.Millisecond != time.Duration(answer.ExpiresInMS) || !isToken(answer.Token) {
		return 0, errors.New("the policy service's answer to /v1/token is not a token")
	}
	s.tokens.put(answer.Token, asked.Add(life))
	s.control.token(asked.Add(life), answer.Token)
	s.report("token", "valid until "+asked.Add(life).UTC().Format(time.RFC3339))
	s.metrics.tokenExpires.Set(float64(asked.Add(life).Unix()))
	s.log.Info("token renewed", "life", life)
	return life, nil
}

// isToken: visible ASCII, as a header and the control protocol need it.
func isToken(s string) bool {
	if s == "" || len(s) > maxToken {
		return false
	}
	for _, b := range []byte(s) {
		if b <= ' ' || b > '~' {
			return false
		}
	}
	return true
}

// authorised calls f with a token; a token that the service refuses is
// dropped, and the error returned: callers try again by their own backoff.
func (s *session) authorised(ctx context.Context, f func(token string) error) error {
	token, err := s.tokens.get(ctx)
	if err != nil {
		return err
	}
	err = f(token)
	if apiclient.IsStatus(err, 401) {
		s.tokens.refused(token)
	}
	return err
}
