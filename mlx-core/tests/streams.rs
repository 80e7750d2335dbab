//! Devices and streams: several streams give the same numbers, failures cross them, and ended ones are errors.

mod support;

use std::time::Duration;

use mlx_core::primitive::apply;
use mlx_core::{Array, Device, DeviceProperty, Stream, async_eval, clear_streams, eval, metal};
use support::{Fail, row};

/// Runs `f` on a thread of its own, because ending streams cannot be undone.
fn on_thread(f: impl FnOnce() + Send) {
    std::thread::scope(|scope| scope.spawn(f).join()).unwrap();
}

#[test]
fn devices_tell_what_they_are() {
    assert!(Device::Cpu.is_available());
    assert!(Device::Cpu.count().unwrap() >= 1);
    assert_eq!(Device::Gpu.count().unwrap() > 0, Device::Gpu.is_available());
    assert_eq!(Device::Gpu.is_available(), Device::has_metal() || Device::has_cuda());
    assert_eq!((Device::Cpu.to_string(), Device::Gpu.to_string()), ("CPU".into(), "GPU".into()));
    for device in [Device::Cpu, Device::Gpu] {
        if !device.is_available() {
            assert_eq!(device.info().unwrap_err().to_string(), "device_info(): MLX has no GPU here");
            assert!(Stream::new(device).unwrap_err().to_string().contains("gpu"));
            continue;
        }
        let info = device.info().unwrap();
        for name in ["device_name", "architecture"] {
            assert!(matches!(&info[name], DeviceProperty::Text(text) if !text.is_empty()), "{info:?}");
        }
        if device == Device::Gpu {
            assert!(
                info.values().any(|value| matches!(value, DeviceProperty::Size(size) if *size > 0)),
                "{info:?}"
            );
        }
    }
}

#[test]
fn metal_is_an_error_elsewhere() {
    if Device::has_metal() {
        return;
    }
    for outcome in [
        metal::start_capture("/tmp/%s.gputrace"),
        metal::stop_capture(),
        metal::set_metallib_path("/tmp/%s"),
        metal::metallib_path().map(drop),
    ] {
        assert!(outcome.unwrap_err().to_string().ends_with("(): MLX has no Metal here"));
    }
}

#[test]
fn several_streams_give_the_same_numbers() {
    let streams: Vec<Stream> = (0..3).map(|_| Stream::new(Device::Cpu).unwrap()).collect();
    let x = row(&[1.0, 2.0, 3.0]);
    for round in 0..50 {
        // Each step on another stream than the one before, so that each waits for another.
        let mut y = x.clone();
        for step in 0..9 {
            let stream = &streams[(round + step) % streams.len()];
            y = stream.scope(|| y.add(&x)).unwrap();
        }
        let halves: Vec<Array> =
            streams.iter().map(|stream| stream.scope(|| y.multiply(&x)).unwrap()).collect();
        async_eval(&halves.iter().collect::<Vec<_>>()).unwrap();
        for half in &halves {
            assert_eq!(half.to_vec::<f32>().unwrap(), [10.0, 40.0, 90.0]);
        }
    }
    streams.iter().for_each(|stream| stream.synchronize().unwrap());
    assert_eq!(streams[0].device(), Device::Cpu);
    assert_ne!(streams[0].to_string(), streams[1].to_string());
    assert_eq!(streams[0].to_string(), streams[0].clone().to_string());
}

#[test]
fn scopes_nest_and_end() {
    let stream = Stream::new(Device::Cpu).unwrap();
    let outside = Device::current();
    stream.scope(|| {
        assert_eq!(Device::current(), Device::Cpu);
        Device::Cpu.scope(|| stream.scope(|| row(&[1.0]).square().unwrap()));
        assert_eq!(Device::current(), Device::Cpu);
    });
    assert_eq!(Device::current(), outside);
    let panicked =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| stream.scope(|| panic!("inside"))));
    assert!(panicked.is_err());
    assert_eq!(Device::current(), outside);
}

#[test]
fn a_failure_crosses_streams() {
    let stream = Stream::new(Device::Cpu).unwrap();
    let x = row(&[1.0, 2.0]);
    for pause in [0, 300] {
        let [bad] = stream.scope(|| apply(Fail(Duration::from_micros(pause)), &[&x])).unwrap();
        let after = x.add(&bad).unwrap();
        let text = after.eval().unwrap_err().to_string();
        assert!(text.contains("fail: broken %s"), "{text}");
        assert!(after.to_vec::<f32>().is_err());
        // Both streams go on, once the one that failed was asked as well.
        assert!(stream.synchronize().unwrap_err().to_string().contains("broken %s"));
        assert_eq!(stream.scope(|| x.square()).unwrap().to_vec::<f32>().unwrap(), [1.0, 4.0]);
        assert_eq!(x.square().unwrap().to_vec::<f32>().unwrap(), [1.0, 4.0]);
    }
    let [bad] = stream.scope(|| apply(Fail(Duration::ZERO), &[&x])).unwrap();
    async_eval(&[&bad]).unwrap();
    assert!(stream.synchronize().unwrap_err().to_string().contains("broken %s"));
}

/// MLX tells a failure to whoever asks first, be it a question whether the work is done.
#[test]
fn a_failure_survives_being_looked_at() {
    let looks: [fn(&Array); 4] = [
        |_| (),
        |array| drop(format!("{array:?}")),
        |array| assert!(!array.is_available()),
        |array| drop(array.clone().eval()),
    ];
    for look in looks {
        let x = row(&[1.0, 2.0]);
        let [bad] = apply(Fail(Duration::ZERO), &[&x]).unwrap();
        let copy = bad.clone();
        async_eval(&[&bad]).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        look(&bad);
        assert!(bad.to_vec::<f32>().is_err());
        assert!(copy.to_vec::<f32>().is_err());
        assert!(!bad.is_available() && !copy.is_available());
    }
    let [bad] = apply(Fail(Duration::ZERO), &[&row(&[1.0])]).unwrap();
    let copy = bad.clone();
    assert!(bad.eval().is_err());
    assert!(copy.to_vec::<f32>().unwrap_err().to_string().contains("has failed before"));
}

#[test]
fn availability_follows_the_work() {
    let x = row(&[1.0, 2.0]);
    assert!(x.is_available());
    let y = x.add(&x).unwrap();
    assert!(!y.is_available());
    let copy = y.clone();
    async_eval(&[&y]).unwrap();
    Device::current().synchronize().unwrap();
    assert!(y.is_available() && copy.is_available());
}

#[test]
fn an_ended_stream_is_an_error() {
    on_thread(|| {
        let stream = Stream::new(Device::Cpu).unwrap();
        let x = row(&[1.0, 2.0]);
        let unevaluated = stream.scope(|| x.square()).unwrap();
        eval(&[&x.add(&x).unwrap()]).unwrap();
        clear_streams().unwrap();

        for outcome in [stream.scope(|| x.square()).map(drop), stream.synchronize()] {
            assert!(outcome.unwrap_err().to_string().contains("was ended by clear_streams"));
        }
        let text = unevaluated.eval().unwrap_err().to_string();
        assert!(text.contains("There is no Stream"), "{text}");
        assert!(x.square().unwrap().eval().is_err());
        drop(stream);
        // A stream that is made afterwards works.
        let new = Stream::new(Device::Cpu).unwrap();
        assert_eq!(new.scope(|| x.square()).unwrap().to_vec::<f32>().unwrap(), [1.0, 4.0]);
        clear_streams().unwrap();
    });
}

#[test]
fn many_threads_with_streams_of_their_own() {
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                let stream = Stream::new(Device::Cpu).unwrap();
                let x = row(&[thread as f32]);
                for _ in 0..100 {
                    let y = stream.scope(|| x.add(&x)).unwrap();
                    assert_eq!(x.add(&y).unwrap().to_vec::<f32>().unwrap(), [3.0 * thread as f32]);
                }
                drop((x, stream));
                clear_streams().unwrap();
            });
        }
    });
}
