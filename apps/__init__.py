"""What an exported file does for people: camera, browser, device bundle. Sees files and Runners."""
