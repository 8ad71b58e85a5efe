package service

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"time"
)

// checkpointEvery is how often the heads of all audit chains are written down
// outside the database.
const checkpointEvery = time.Minute

// Checkpoint says how far the chain of each node had come at a time. Whoever
// changes or removes older records later contradicts it.
type Checkpoint struct {
	Made     time.Time   `json:"made"`
	Heads    []AuditHead `json:"heads"`
	Previous string      `json:"previous"` // SHA-256 of the line before, hex; "": the first
}

// SignedCheckpoint is a line of the checkpoint file. The signature is of the
// text of the checkpoint as it stands there.
type SignedCheckpoint struct {
	Checkpoint json.RawMessage `json:"checkpoint"`
	Key        []byte          `json:"key"` // Ed25519, public
	Signature  []byte          `json:"signature"`
}

// checkpointer appends checkpoints to a file.
type checkpointer struct {
	store *Store
	file  string
	key   ed25519.PrivateKey
	every time.Duration
	log   *slog.Logger
}

func newCheckpointer(store *Store, file string, every time.Duration, log *slog.Logger) *checkpointer {
	if every <= 0 {
		every = checkpointEvery
	}
	return &checkpointer{store: store, file: file, key: ed25519.NewKeyFromSeed(store.key.Derive("portcullis audit checkpoints")), every: every, log: log}
}

// public is the key that verifies the signatures.
func (c *checkpointer) public() ed25519.PublicKey { return c.key.Public().(ed25519.PublicKey) }

// run writes a checkpoint from time to time, and a last one.
func (c *checkpointer) run(ctx context.Context) {
	c.log.Info("writing audit checkpoints", "file", c.file, "every", c.every, "key", base64.StdEncoding.EncodeToString(c.public()))
	tick := time.NewTicker(c.every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
			defer cancel()
			if err := c.write(last); err != nil {
				c.log.Error("no last audit checkpoint could be written", "error", err)
			}
			return
		case <-tick.C:
			if err := c.write(ctx); err != nil && ctx.Err() == nil {
				c.log.Error("no audit checkpoint could be written", "error", err)
			}
		}
	}
}

func (c *checkpointer) write(ctx context.Context) error {
	heads, err := c.store.AuditHeads(ctx)
	if err != nil {
		return err
	}
	before, torn, err := lastLine(c.file)
	if err != nil {
		return err
	}
	if heads == nil {
		heads = []AuditHead{}
	}
	text, err := json.Marshal(Checkpoint{Made: time.Now().UTC(), Heads: heads, Previous: before})
	if err != nil {
		return err
	}
	line, err := json.Marshal(SignedCheckpoint{Checkpoint: text, Key: c.public(), Signature: ed25519.Sign(c.key, text)})
	if err != nil {
		return err
	}
	if torn { // a crash left half a line
		line = append([]byte("\n"), line...)
	}
	return appendSynced(c.file, append(line, '\n'))
}

func appendSynced(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return fmt.Errorf("checkpoint file: %w", err)
	}
	if _, err := f.Write(text); err != nil {
		return errors.Join(fmt.Errorf("checkpoint file: %w", err), f.Close())
	}
	if err := f.Sync(); err != nil {
		return errors.Join(fmt.Errorf("checkpoint file: %w", err), f.Close())
	}
	return f.Close()
}

// lastLine returns the digest of the last whole line, and whether half a line follows.
func lastLine(path string) (digest string, torn bool, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("checkpoint file: %w", err)
	}
	defer f.Close()
	in := bufio.NewReader(f)
	for {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return digest, len(line) > 0, nil
		}
		if err != nil {
			return "", false, fmt.Errorf("checkpoint file: %w", err)
		}
		digest = lineDigest(line)
	}
}

func lineDigest(line []byte) string {
	sum := sha256.Sum256(bytes.TrimSuffix(line, []byte("\n")))
	return hex.EncodeToString(sum[:])
}
