"""Claims as data, judged against a study: confirmed, refuted, undecided or not testable."""
