// Package notice tells operators what they must know where they look first: in Events
// on the ScaledObject or on the launcher's Deployment. It also reads what holds a
// launcher's pods up, because the scaler only sees that no launcher comes.
//
// Older installations have no Role for this. Then it says so once and does nothing
// more.
package notice
