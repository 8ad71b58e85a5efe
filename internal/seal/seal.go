// Package seal keeps secrets at rest: what is stored in a catalog or a table
// is readable only with a node's key file, which lies outside the data
// directory.
//
// A sealed text is "v1:" and the base64 of nonce and ciphertext of
// AES-256-GCM. The key file holds 32 random bytes.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// KeySize is the length of a key and of a key file in bytes.
const KeySize = 32

const prefix = "v1:"

// ErrNotSealed says that a text does not have the form of a sealed one.
var ErrNotSealed = errors.New("not a sealed text: expected v1:BASE64")

// ErrWrongKey says that a sealed text was made with another key or was changed.
var ErrWrongKey = errors.New("the key file does not open this sealed text")

// Key seals and unseals. It is safe for concurrent use.
type Key struct {
	aead cipher.AEAD
	root []byte // of derived keys
}

// NewKey makes a Key of KeySize bytes.
func NewKey(raw []byte) (*Key, error) {
	if len(raw) != KeySize {
		return nil, fmt.Errorf("a key has %d bytes, not %d", KeySize, len(raw))
	}
	block, err := aes.NewCipher(raw)
	if err != nil {
		return nil, fmt.Errorf("make cipher: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("make cipher: %w", err)
	}
	return &Key{aead: aead, root: derive(raw, "portcullis derived keys")}, nil
}

func derive(key []byte, label string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(label))
	return mac.Sum(nil)
}

// Derive makes a key of 32 bytes for another purpose, which the label names.
func (k *Key) Derive(label string) []byte { return derive(k.root, label) }

// ReadKeyFile reads the key of a node. A file that others than its owner and
// group may read is refused.
func ReadKeyFile(path string) (*Key, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read key file: %w", err)
	}
	if info.Mode().Perm()&0o007 != 0 {
		return nil, fmt.Errorf("key file %s is open to everybody (mode %o): set it to 0600 or 0640", path, info.Mode().Perm())
	}
	if info.Size() != KeySize {
		return nil, fmt.Errorf("key file %s has %d bytes, not %d", path, info.Size(), KeySize)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read key file: %w", err)
	}
	return NewKey(raw)
}

// CreateKeyFile writes a new random key with mode 0600. An existing file is
// never replaced: errors.Is(err, fs.ErrExist).
func CreateKeyFile(path string) error {
	raw := make([]byte, KeySize)
	if _, err := rand.Read(raw); err != nil {
		return fmt.Errorf("draw key: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("key file exists, secrets may be sealed with it: %w", err)
		}
		return fmt.Errorf("create key file: %w", err)
	}
	if _, err := f.Write(raw); err != nil {
		return errors.Join(fmt.Errorf("write key file: %w", err), f.Close(), os.Remove(path))
	}
	if err := f.Sync(); err != nil {
		return errors.Join(fmt.Errorf("sync key file: %w", err), f.Close(), os.Remove(path))
	}
	return f.Close()
}

// Seal returns the sealed form of a secret.
func (k *Key) Seal(secret []byte) (string, error) {
	nonce := make([]byte, k.aead.NonceSize())
	if _, err := rand.Read(nonce); err != nil {
		return "", fmt.Errorf("draw nonce: %w", err)
	}
	return prefix + base64.StdEncoding.EncodeToString(k.aead.Seal(nonce, nonce, secret, nil)), nil
}

// Unseal returns the secret, ErrNotSealed or ErrWrongKey.
func (k *Key) Unseal(sealed string) ([]byte, error) {
	encoded, ok := strings.CutPrefix(sealed, prefix)
	if !ok {
		return nil, ErrNotSealed
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil || len(raw) < k.aead.NonceSize()+k.aead.Overhead() {
		return nil, ErrNotSealed
	}
	secret, err := k.aead.Open(nil, raw[:k.aead.NonceSize()], raw[k.aead.NonceSize():], nil)
	if err != nil {
		return nil, ErrWrongKey
	}
	return secret, nil
}

// IsSealed tells whether a text claims to be sealed.
func IsSealed(s string) bool { return strings.HasPrefix(s, prefix) }

// Seal seals a secret with the key file.
func Seal(keyFile, secret string) (string, error) {
	k, err := ReadKeyFile(keyFile)
	if err != nil {
		return "", err
	}
	return k.Seal([]byte(secret))
}

// Unseal opens a sealed text with the key file.
func Unseal(keyFile, sealed string) (string, error) {
	k, err := ReadKeyFile(keyFile)
	if err != nil {
		return "", err
	}
	secret, err := k.Unseal(sealed)
	return string(secret), err
}
