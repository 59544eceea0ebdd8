import time, psutil, psycopg, uuid
from tests.support.theatre import lake_template
def cpu(port):
    s=0
    for p in psutil.process_iter(["name","cmdline"]):
        if p.info["name"]=="postgres":
            c=p.info["cmdline"]
            if c and port in c:
                for q in [p,*p.children()]:
                    t=q.cpu_times(); s+=t.user+t.system
                t=p.cpu_times(); s+=t.children_user+t.children_system
    return s
def test_x(embedded_url, migrated_template, sample_template):
    port=embedded_url.rsplit(":",1)[1].split("/")[0]
    lake=lake_template(embedded_url, migrated_template)
    with psycopg.connect(embedded_url, autocommit=True) as c:
        for t in (migrated_template, sample_template, lake):
            print(t, c.execute("select pg_size_pretty(pg_database_size(%s)), (select count(*) from pg_class)",(t,)).fetchone())
            for strategy in ("file_copy","wal_log"):
                a=cpu(port); w=time.perf_counter()
                for _ in range(10):
                    n="x"+uuid.uuid4().hex[:8]
                    c.execute(f'create database "{n}" template "{t}" strategy {strategy}')
                    c.execute(f'drop database "{n}" with (force)')
                print(t, strategy, (cpu(port)-a)/10, (time.perf_counter()-w)/10)
        a=cpu(port)
        for _ in range(20):
            with psycopg.connect(embedded_url) as d: d.execute("select 1")
        print("connect", (cpu(port)-a)/20)
