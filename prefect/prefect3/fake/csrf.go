package fake

import (
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"time"
)

// token is a client's. A client has only its newest one (prefect3 §7.1).
type token struct {
	row
	Token   string `json:"token"`
	Client  string `json:"client"`
	Expires stamp  `json:"expiration"`
}

const tokenLives = time.Hour

func (a *API) giveToken(q *ask) (int, any) {
	client := q.URL.Query().Get("client")
	switch {
	case a.options.Cloud:
		return missing("Not Found")
	case !a.options.CSRF:
		return http.StatusUnprocessableEntity, refusal{Detail: "CSRF protection is disabled."}
	case client == "":
		return q.invalid(problem{Type: "missing", Loc: []any{"client"}, Msg: "Field required"})
	}
	s := a.store
	t, is := s.tokens[client]
	if !is {
		t = token{row: s.row(), Client: client}
	}
	var b [32]byte
	rand.Read(b[:])
	t.Token, t.Expires = hex.EncodeToString(b[:]), stamp{q.at.Add(tokenLives)}
	t.touch(s)
	s.tokens[client] = t
	return http.StatusOK, t
}

// csrf says why a request that may write is refused; empty when it is not.
func (s *store) csrf(h http.Header, now time.Time) string {
	got, client := h.Get("Prefect-Csrf-Token"), h.Get("Prefect-Csrf-Client")
	switch {
	case got == "":
		return "Missing CSRF token."
	case client == "":
		return "Missing client identifier."
	}
	if t, is := s.tokens[client]; !is || t.Token != got || !now.Before(t.Expires.Time) {
		return "Invalid CSRF token or client identifier."
	}
	return ""
}
