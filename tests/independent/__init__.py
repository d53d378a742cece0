"""A second computation of the report, from the stored files alone: nothing here imports analysis, study or workers."""
