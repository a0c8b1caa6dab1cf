"""An exported file + a target -> which of its operators run there (`edge-effnet check`)."""
