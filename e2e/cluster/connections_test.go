package cluster

import "testing"

// A scaler's table: KEDA at port 9090 twice, a probe at 8080, one connection of its own that is
// open and one that is closing.
const sockets = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0500F40A:A3B2 01006040A:1092 01 00000000:00000000 02:00000000 00000000 65532        0 1
   1: 0500F40A:A3B4 01006040A:1092 06 00000000:00000000 03:00000000 00000000 65532        0 2
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000000000000:2382 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 65532        0 3
   1: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 65532        0 4
   2: 0000000000000000FFFF00000500F40A:2382 0000000000000000FFFF00000600F40A:9C40 01 00000000:00000000 00:00000000 00000000 65532        0 5
   3: 0000000000000000FFFF00000500F40A:2382 0000000000000000FFFF00000600F40A:9C42 01 00000000:00000000 00:00000000 00000000 65532        0 6
   4: 0000000000000000FFFF00000500F40A:1F90 0000000000000000FFFF00000100F40A:9C44 01 00000000:00000000 00:00000000 00000000 65532        0 7
`

func TestConnections(t *testing.T) {
	if in, out := connections(sockets, 9090); in != 2 || out != 1 {
		t.Errorf("%d in and %d out, want 2 and 1", in, out)
	}
	if in, out := connections("", 9090); in != 0 || out != 0 {
		t.Errorf("of nothing: %d in and %d out", in, out)
	}
}
