"""What the users do: presets, YAML files, lengths, arrivals, traces and datasets. Nothing is sent here. Pure."""
