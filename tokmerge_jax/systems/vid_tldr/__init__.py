"""vid-TLDR on UMT: retrieval and question answering."""
