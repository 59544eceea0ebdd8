"""The pages for colleagues: campaigns, steps with previews, sends, people; and the way in."""
