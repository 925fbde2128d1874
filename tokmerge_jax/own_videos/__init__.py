"""Videos of one's own: searched by text, recognised, captioned, without any data set."""
