-- Postgres. Participations by how they ended (null: still there), and how many of them met a goal.
select outcome, reason, count(*), count(goal_at) from participant group by 1, 2 order by 3 desc, 1, 2
